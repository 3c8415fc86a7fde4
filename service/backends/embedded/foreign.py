"""What runs a foreign SavedModel: TensorFlow, or OpenVINO where that is as fast and gives TensorFlow's answers.

A race is about one signature that takes one batched input of numbers. All others stay with TensorFlow, which is then
loaded with the first such call. A model whose calls change its variables does not race: they are in the memory of what
ran it until then.
"""

import json
import logging
import shutil
import subprocess
import sys
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np

from service.backends.base import Runner
from service.backends.embedded.deferred import DeferredRunner
from service.backends.embedded.engines import AUTO, Engines, is_installed
from service.backends.embedded.profile_store import ProfileStore
from service.backends.embedded.race import OPENVINO, TENSORFLOW
from service.backends.embedded.version_race import Racer, VersionRace, keep_outcome, make_rivals, run_beside
from service.backends.golden import BFLOAT16, find_deviation
from service.errors import ServiceError
from service.host.cpu import cores, has_bfloat16, machine
from service.protobuf import signatures as protos
from service.protobuf.graph_state import has_writes
from service.repository.manifest import SAVED_MODEL, Manifest, Profile, Signature
from service.types import DEFAULT_SIGNATURE, Array, Tensors

if TYPE_CHECKING:
    from collections.abc import Callable

    from service.backends.embedded.openvino import OpenVINORunner
    from service.backends.embedded.saved_model import SavedModelRunner

_log = logging.getLogger(__name__)
_FLOAT32 = "float32"
_ROWS = 11  # of the random input: more than one run of OpenVINO takes, and no whole number of those
_CONVERT_SECONDS = 300.0
_NETWORK, _ANSWERS = "network.xml", "answers.npz"


@dataclass(frozen=True, slots=True)
class Foreign:
    """A SavedModel's signatures, the runner of each, and the profile: None where only TensorFlow can run it."""

    signatures: Mapping[str, Signature]
    definitions: Mapping[str, bytes]
    runners: Mapping[str, Runner]
    profile: Profile | None = None
    deferred: Mapping[str, str] = field(default_factory=dict)
    """Signatures that load when called -> why."""


def load(
    folder: Path,
    name: str,
    version: int,
    engines: Engines,
    profiles: ProfileStore,
    report_decided: "Callable[[], None]",
) -> Foreign:
    """TensorFlow runs it while engines race in the background. `report_decided` is called when that race has ended.

    Raises ValueError where it cannot be loaded.
    """
    rivals = _find_rivals(engines)
    if not rivals:
        return _use_tensorflow(folder, None)
    from service.backends.embedded.openvino import find_version

    graph = protos.read_meta_graph(folder / SAVED_MODEL)
    definitions = dict(graph.signature_def)
    manifest = Manifest(name, version, protos.from_protos(definitions))
    raced = find_raced(manifest.signatures)
    if raced is None or has_writes(graph, manifest.signatures):
        return _use_tensorflow(folder, None)
    del graph  # it may hold all weights
    kind = f", foreign, openvino {find_version()}, {'; '.join(sorted(rivals))}, {engines.name}"
    entrant = _Entrant(folder, manifest, raced, profiles, kind, profiles.locate(folder, kind))
    if (kept := entrant.read()) is not None:
        if kept.engine != OPENVINO:
            return _use_tensorflow(folder, kept)
        try:
            runner = entrant.open_network(kept)
            wrong = entrant.find_mismatch(runner, kept)
        except ValueError as error:
            wrong = str(error)
        if not wrong:
            return entrant.use_openvino(runner, kept, protos.serialize(definitions))
        _log.warning("%s/%d: OpenVINO ran it before and cannot now: %s; the engines race again", name, version, wrong)
    whole = _load_tensorflow(folder)
    profile = Profile(machine(), 1, cores(), {}, 0.0, 0.0, engine=TENSORFLOW, precision=_FLOAT32)

    def run() -> Profile:
        with engines.lock, profiles.one_at_a_time():
            found = entrant.read()
            if found is not None and found != kept:  # another worker's
                return found
            found = entrant.race(whole, profile, rivals, required=engines.name == OPENVINO)
            keep_outcome(profiles, folder, found, entrant.kind)
            return found

    try:
        patience = None if engines.name == OPENVINO else 0.0
        found = run_beside(run, patience, f"{name}/{version}", report_decided)
    except TimeoutError:
        return _use_whole(whole, replace(profile, racing=True))
    if found.engine == OPENVINO:
        try:
            return entrant.use_openvino(entrant.open_network(found), found, protos.serialize(definitions))
        except ValueError as error:
            _log.warning("%s; TensorFlow runs it", error)
    return _use_whole(whole, replace(profile, race=found.race))


@dataclass(frozen=True, slots=True)
class _Entrant:
    """One SavedModel, the signature that a race is about, and what is kept of it: OpenVINO's network and TensorFlow's
    answers.
    """

    folder: Path
    manifest: Manifest
    raced: str
    profiles: ProfileStore
    kind: str
    place: Path

    def read(self) -> Profile | None:
        return self.profiles.read(self.folder, self.kind)

    def race(
        self, whole: "SavedModelRunner", profile: Profile, rivals: Mapping[str, Profile], *, required: bool
    ) -> Profile:
        """The winner's profile. What cannot take part has the reason in it."""
        findings: dict[str, str] = {}
        able = dict(rivals)
        try:
            self._write(whole)
        except (OSError, ValueError, ServiceError) as error:
            why = error.message if isinstance(error, ServiceError) else str(error)
            findings = {rival: why for rival, each in rivals.items() if each.engine == OPENVINO}
            able = {rival: each for rival, each in rivals.items() if rival not in findings}
        racing = VersionRace(
            self.manifest,
            f"{TENSORFLOW} {_FLOAT32}",
            whole,
            profile,
            self._compile,
            self.find_mismatch,
            light=OPENVINO,
        )
        _, found = racing.run(able, required=required and bool(able)) if able else (None, profile)
        return replace(found, race={**found.race, **findings})

    def find_mismatch(self, runner: Racer, profile: Profile) -> str:
        """Raises ValueError where TensorFlow's answers are not kept."""
        inputs, expected = read_answers(self.place / _ANSWERS, self._signature)
        try:
            answers = runner.call(self.raced, inputs)
        except ServiceError as error:
            return error.message
        wrong = find_deviation(expected, answers, profile.precision)
        return wrong and f"its answers are not TensorFlow's: {wrong}"

    def open_network(self, profile: Profile) -> "OpenVINORunner":
        """Raises ValueError."""
        from service.backends.embedded.litert import Layout
        from service.backends.embedded.openvino import OpenVINORunner

        layout = Layout(profile.lanes, profile.threads)
        return OpenVINORunner(self.place / _NETWORK, {self.raced: self._signature}, profile.precision, layout)

    def use_openvino(self, runner: "OpenVINORunner", profile: Profile, definitions: Mapping[str, bytes]) -> Foreign:
        rest = DeferredRunner(partial(_load_tensorflow, self.folder))
        deferred = dict.fromkeys(
            self.manifest.signatures.keys() - {self.raced}, "it runs on TensorFlow, which is loaded when it is called"
        )
        runners: dict[str, Runner] = {**dict.fromkeys(deferred, rest), self.raced: runner}
        return Foreign(self.manifest.signatures, definitions, runners, profile, deferred)

    @property
    def _signature(self) -> Signature:
        return self.manifest.signatures[self.raced]

    def _compile(self, profile: Profile) -> Racer:
        return (
            self.open_network(profile)
            if profile.engine == OPENVINO
            else _load_tensorflow(self.folder, profile.precision)
        )

    def _write(self, whole: "SavedModelRunner") -> None:
        """Writes TensorFlow's answers to random inputs, and the network as OpenVINO's files.

        Raises OSError, ValueError or ServiceError where that fails.
        """
        from service.backends.embedded.saved_model import freeze

        inputs = _make_random_inputs(self._signature)
        outputs = whole.call(self.raced, inputs)
        work = self.place.with_suffix(".new")  # one at a time: what a killed process left is there no longer
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        try:
            arrays: dict[str, Any] = {f"input {alias}": array for alias, array in inputs.items()}
            np.savez(work / _ANSWERS, **arrays | {f"output {alias}": array for alias, array in outputs.items()})
            graph, aliases = freeze(self.folder, self.raced)
            (work / "graph.pb").write_bytes(graph)
            (work / "names.json").write_text(json.dumps(aliases), encoding="utf-8")
            command = [sys.executable, "-m", "service", "openvino", work / "graph.pb", work / _NETWORK]
            _run_command([*map(str, command), "--names", str(work / "names.json")])
            (work / "graph.pb").unlink()
            self.profiles.mark(work, self.folder)
            shutil.rmtree(self.place, ignore_errors=True)
            work.rename(self.place)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def read_answers(path: Path, signature: Signature) -> tuple[Tensors, Tensors]:
    """Inputs, and TensorFlow's outputs for them. Raises ValueError where the file is missing or damaged."""
    try:
        with np.load(path) as arrays:
            inputs = {alias: arrays[f"input {alias}"] for alias in signature.inputs}
            return inputs, {alias: arrays[f"output {alias}"] for alias in signature.outputs}
    except (OSError, LookupError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise ValueError(f"{path} cannot be read: {error}") from error


def _find_rivals(engines: Engines) -> dict[str, Profile]:
    """What races with TensorFlow in float32: bfloat16 only with --precision fast."""
    fast = engines.precision == "fast" and has_bfloat16()
    rivals: dict[str, Profile] = {}
    if engines.name in (AUTO, OPENVINO) and is_installed():
        rivals |= make_rivals(OPENVINO, (_FLOAT32, BFLOAT16) if fast else (_FLOAT32,))
    if fast and engines.name in (AUTO, TENSORFLOW):
        rivals |= make_rivals(TENSORFLOW, (BFLOAT16,))
    return rivals


def find_raced(signatures: Mapping[str, Signature]) -> str | None:
    """Several inputs may have other numbers of rows, and single values may come in other shapes than the declared one
    (`TensorSpec.check_foreign`): TensorFlow alone knows what that means.
    """
    from service.backends.embedded.autotune import make_inputs

    able = [
        name
        for name, signature in signatures.items()
        if len(signature.inputs) == 1
        and not signature.fixed
        and not any(spec.takes_single_values for spec in signature.inputs.values())
        and make_inputs(signature, 1) is not None
    ]
    return DEFAULT_SIGNATURE if DEFAULT_SIGNATURE in able else next(iter(sorted(able)), None)


def _make_random_inputs(signature: Signature) -> Tensors:
    """_ROWS rows: pixels for uint8, 0 to 1 for other numbers."""
    generator = np.random.default_rng(0)
    inputs: dict[str, Array] = {}
    for alias, spec in signature.inputs.items():
        shape, dtype = (_ROWS, *(size or 0 for size in (spec.shape or ())[1:])), np.dtype(spec.dtype)
        numbers = generator.random(shape) if dtype.kind == "f" else generator.integers(0, 2, shape)
        inputs[alias] = (generator.integers(0, 256, shape) if dtype == np.uint8 else numbers).astype(dtype)
    return inputs


def _run_command(command: list[str]) -> None:
    """Raises ValueError with the last line of its errors."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", check=False, timeout=_CONVERT_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise ValueError(f"OpenVINO did not convert it within {_CONVERT_SECONDS:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise ValueError((lines[-1] if lines else f"OpenVINO's converter ended with {done.returncode}")[:300])


def _load_tensorflow(folder: Path, precision: str = "") -> "SavedModelRunner":
    from service.backends.embedded.saved_model import SavedModelRunner

    return SavedModelRunner(folder, precision)


def _use_tensorflow(folder: Path, profile: Profile | None) -> Foreign:
    return _use_whole(_load_tensorflow(folder, profile.precision if profile else ""), profile)


def _use_whole(whole: "SavedModelRunner", profile: Profile | None) -> Foreign:
    runners = dict.fromkeys(whole.signatures or [DEFAULT_SIGNATURE], whole)  # it is closed even if nobody can call it
    return Foreign(whole.signatures, whole.definitions, runners, profile)
