"""Which engine runs an exported version in this process: as the operator says, or the fastest of a race."""

import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from service.backends.base import Golden, Runner
from service.backends.embedded.deferred import DeferredRunner
from service.backends.embedded.profile_store import ProfileStore
from service.backends.embedded.race import LITERT, OPENVINO
from service.backends.embedded.version_race import Racer, VersionRace, keep_outcome, make_rivals, run_beside
from service.backends.golden import INT8, find_mismatch
from service.errors import ServiceError
from service.host.cpu import cores
from service.repository.manifest import OPENVINO as NETWORK
from service.repository.manifest import (
    OPENVINO_INT8,
    OPENVINO_INT8_GOLDEN,
    TFLITE,
    Manifest,
    Profile,
    Signature,
)

if TYPE_CHECKING:  # engines are loaded with the first version that they run
    from service.backends.embedded.litert import LiteRTRunner
    from service.backends.embedded.openvino import OpenVINORunner

_log = logging.getLogger(__name__)
AUTO = "auto"
_FLOAT32 = "float32"
_EXACT = ("", _FLOAT32)
_PATIENCE = 3.0  # seconds


@dataclass(frozen=True, slots=True)
class Engines:
    """`name` is --engine's value and `precision` --precision's.

    Raises ValueError where OpenVINO is asked for and is not installed.
    """

    name: str = AUTO
    precision: str = "exported"
    patience: float = _PATIENCE
    """Seconds that a load waits for a race."""
    lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name == OPENVINO and not is_installed():
            raise ValueError(
                "--engine openvino needs OpenVINO: pip install 'image-model-server[openvino]', or choose --engine auto"
            )

    def load(
        self,
        folder: Path,
        manifest: Manifest,
        golden: Golden | None,
        profiles: ProfileStore,
        load_litert: "Callable[[], tuple[LiteRTRunner, Profile]]",
        report_decided: Callable[[], None] = lambda: None,
    ) -> "Chosen":
        """What runs `folder`. A race that takes longer than _PATIENCE goes on in the background, while LiteRT runs the
        version; its profile says so, and `report_decided` is called, on another thread, when another `load` has its
        result.

        Raises ValueError where LiteRT is to run the version and cannot.
        """
        files = self._find_files(folder, manifest)
        if not files:
            if self.name == OPENVINO:
                _log.warning("%s has nothing that OpenVINO reads; export it again. LiteRT runs it", folder)
            return _use_litert(*load_litert(), manifest)
        from service.backends.embedded import openvino

        name, fast = _name_version(manifest), self.is_fast(manifest)
        kind = f", openvino {openvino.find_version()}, {'fast' if fast else 'exact'}, {self.name}"
        kind += ", int8" if INT8 in files else ""
        measured = folder / TFLITE  # not OpenVINO's file, whose weights lie in another one
        kept = profiles.read(measured, kind)
        if kept is not None and kept.engine != OPENVINO:
            lite, profile = load_litert()
            return _use_litert(lite, replace(profile, race=kept.race), manifest)
        networks = self.find_networks(folder, manifest)
        if kept is not None:
            try:
                runner = _compile(networks, manifest, kept)
            except ValueError as error:
                wrong = str(error)
            else:
                if not (wrong := _find_mismatch(golden, runner, folder, manifest, kept.precision)):
                    return _use_openvino(runner, kept, folder, manifest)
            _log.warning("%s: OpenVINO ran it before and cannot now: %s; the engines race again", name, wrong)
        lite, profile = load_litert()  # measures too, where nobody has yet
        rivals = make_rivals(OPENVINO, tuple(networks))
        racing = VersionRace(
            manifest,
            LITERT,
            lite,
            profile,
            lambda made: _compile(networks, manifest, made),
            lambda runner, made: _find_mismatch(golden, runner, folder, manifest, made.precision),
            light=LITERT,
        )

        def run() -> "tuple[OpenVINORunner | None, Profile]":
            with self.lock, profiles.one_at_a_time():  # two measurements would slow each other down
                found = profiles.read(measured, kind)
                if found is not None and found != kept:  # another worker's
                    return None, found
                winner, found = racing.run(rivals, required=self.name == OPENVINO)
                keep_outcome(profiles, measured, found, kind)
                return cast("OpenVINORunner | None", winner), found

        try:
            faster, found = run_beside(run, self.patience if self.name == AUTO else None, name, report_decided)
        except TimeoutError:
            _log.info("%s: LiteRT runs it while the race goes on in the background", name)
            # One of its own: what is measured beside requests on the same interpreters would look slow.
            return _use_litert(_load_tuned(folder / TFLITE, profile), replace(profile, racing=True), manifest)
        if found.engine != OPENVINO:
            return _use_litert(lite, replace(profile, race=found.race), manifest)
        try:
            runner = faster or _compile(networks, manifest, found)
            wrong = "" if faster else _find_mismatch(golden, runner, folder, manifest, found.precision)
        except ValueError as error:
            wrong = str(error)
        if wrong:
            _log.warning("%s: OpenVINO won the race in another process: %s; LiteRT runs it", name, wrong)
            return _use_litert(lite, replace(profile, race=found.race), manifest)
        return _use_openvino(runner, found, folder, manifest)

    def is_fast(self, manifest: Manifest) -> bool:
        """Whether bfloat16, float16 and int8 take part."""
        return self.precision == "fast" or (self.precision == "exported" and manifest.precision not in _EXACT)

    def find_networks(self, folder: Path, manifest: Manifest) -> dict[str, Path]:
        """Precision -> the file of the version that OpenVINO reads for it; empty where it does not run the version."""
        files = self._find_files(folder, manifest)
        if _FLOAT32 not in files or not self.is_fast(manifest):
            return files
        from service.backends.embedded import openvino

        return dict.fromkeys(openvino.find_precisions(), files[_FLOAT32]) | files

    def _find_files(self, folder: Path, manifest: Manifest) -> dict[str, Path]:
        """float32 and int8 -> the file. It does not load OpenVINO: where LiteRT has won, nobody needs it."""
        if self.name not in (AUTO, OPENVINO) or not is_installed():
            return {}
        files = dict[str, Path]()
        if (network := _find_float32(folder, manifest)) is not None:
            files[_FLOAT32] = network
        if self.is_fast(manifest) and (folder / OPENVINO_INT8).is_file():
            files[INT8] = folder / OPENVINO_INT8
        return files


@dataclass(frozen=True, slots=True)
class Chosen:
    """`runners` has that of each signature that needs no graph, `given` what the runner of images gives. `checked` says
    that it has given the golden answers.
    """

    runners: Mapping[str, Runner]
    given: Mapping[str, Signature]
    profile: Profile
    checked: bool = False


def describe_engine(profile: Profile) -> str:
    """A line's end for a log: what runs a version, and what each engine cost."""
    from service.backends.embedded import race

    by_rows = next(iter(profile.milliseconds.values()), {})
    costs = [f"{name} {cost}" for name, cost in profile.race.items()]
    if not costs and 1 in by_rows:
        costs = [race.describe_costs(by_rows)]
    return ": ".join(
        [" in ".join(filter(None, (profile.engine, profile.precision))), *filter(None, ["; ".join(costs)])]
    )


def is_installed() -> bool:
    return find_spec("openvino") is not None


def _find_float32(folder: Path, manifest: Manifest) -> Path | None:
    """The file of a version that OpenVINO can read in float32; None where it has none."""
    if (own := folder / NETWORK).is_file():
        return own
    return folder / TFLITE if manifest.precision in _EXACT and (folder / TFLITE).is_file() else None


def _name_version(manifest: Manifest) -> str:
    return f"{manifest.name}/{manifest.version}"


def _use_litert(lite: "LiteRTRunner", profile: Profile, manifest: Manifest) -> Chosen:
    by_signature = {name: lite for name in lite.signatures if name in manifest.signatures}
    return Chosen(by_signature, lite.signatures, replace(profile, precision=manifest.precision))


def _use_openvino(runner: "OpenVINORunner", profile: Profile, folder: Path, manifest: Manifest) -> Chosen:
    """`runner` has given the golden answers. LiteRT leaves memory, and is loaded again with the first call of a
    signature that it alone can run.
    """
    rest = DeferredRunner(partial(_load_rest, folder / TFLITE))
    others = dict.fromkeys(set(profile.milliseconds) & set(manifest.signatures), rest)
    runners: dict[str, Runner] = {**others, **dict.fromkeys(runner.signatures, runner)}
    return Chosen(runners, runner.signatures, profile, checked=True)


def _find_mismatch(golden: Golden | None, runner: Racer, folder: Path, manifest: Manifest, precision: str) -> str:
    if golden is None or golden.signature not in runner.signatures:
        return ""
    try:
        golden = _find_golden(golden, folder, precision)
        answers = runner.call(golden.signature, golden.inputs)
    except ServiceError as error:
        return error.message
    except ValueError as error:
        return str(error)
    wrong = find_mismatch(golden, answers, manifest, precision)
    return wrong and f"its answers are not those at export: {wrong}"


def _find_golden(golden: Golden, folder: Path, precision: str) -> Golden:
    """`golden` with the answers of OpenVINO's form in `precision`. Raises ValueError where they cannot be read."""
    if precision != INT8:
        return golden
    path = folder / OPENVINO_INT8_GOLDEN
    try:
        answers = np.load(path)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    if {answers.shape} != {expected.shape for expected in golden.outputs.values()}:
        raise ValueError(f"{path} has answers of shape {list(answers.shape)}, and not those to the golden images")
    return replace(golden, outputs=dict.fromkeys(golden.outputs, answers))


def _compile(networks: Mapping[str, Path], manifest: Manifest, profile: Profile) -> "OpenVINORunner":
    """Raises ValueError where OpenVINO cannot run it."""
    from service.backends.embedded.litert import Layout
    from service.backends.embedded.openvino import OpenVINORunner

    layout = Layout(profile.lanes, profile.threads)
    if profile.precision not in networks:
        raise ValueError(f"unknown precision {profile.precision!r:.20}; expected {' or '.join(networks)}")
    return OpenVINORunner(networks[profile.precision], manifest.signatures, profile.precision, layout)


def _load_tuned(path: Path, profile: Profile) -> "LiteRTRunner":
    from service.backends.embedded import autotune

    return autotune.load_tuned(path, profile)


def _load_rest(path: Path) -> "LiteRTRunner":
    """One lane on all cores. Raises ValueError where `path` is no TFLite model."""
    from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile

    return LiteRTRunner(ModelFile.read(path), Layout(1, cores()))
