"""Which engine runs an exported version in this process: as the operator says, or the fastest of a race."""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from service.backends.base import Golden, Runner
from service.backends.embedded.deferred import DeferredRunner
from service.backends.embedded.profile_store import ProfileStore
from service.backends.golden import find_mismatch
from service.errors import ServiceError
from service.host.cpu import cores, machine
from service.host.priority import give_way
from service.host.processes import resident_mb
from service.repository.manifest import OPENVINO, TFLITE, Manifest, Profile, Signature

if TYPE_CHECKING:  # engines are loaded with the first version that they run
    from service.backends.embedded.litert import LiteRTRunner
    from service.backends.embedded.openvino import OpenVINORunner

_log = logging.getLogger(__name__)
T = TypeVar("T")
_AUTO, _OPENVINO = "auto", "openvino"
_EXACT = ("", "float32")
_PATIENCE = 3.0  # seconds
_BUSY = 4.0  # times what LiteRT needs by its profile
_SECONDS = 1.0  # of running engines in turns; compiling them takes about as long
_LAYOUT_SECONDS = 0.4
_BUCKETS_SECONDS = 0.5  # of measuring the winner's other batch sizes
_LARGE = 400.0  # milliseconds of a batch past which LiteRT's layout is taken as it is


@dataclass(frozen=True, slots=True)
class Engines:
    """`name` is --engine's value and `precision` --precision's.

    Raises ValueError where OpenVINO is asked for and is not installed.
    """

    name: str = _AUTO
    precision: str = "exported"
    patience: float = _PATIENCE
    """Seconds that a load waits for a race."""
    _racing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.name == _OPENVINO and not _is_installed():
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
        network = _find_network(folder, manifest) if self.name in (_AUTO, _OPENVINO) and _is_installed() else None
        if network is None:
            if self.name == _OPENVINO:
                _log.warning("%s has nothing that OpenVINO reads; export it again. LiteRT runs it", folder)
            return _use_litert(*load_litert(), manifest)
        from service.backends.embedded import openvino

        name, fast = _name_version(manifest), self._is_fast(manifest)
        kind = f", openvino {openvino.find_version()}, {'fast' if fast else 'exact'}, {self.name}"
        measured = folder / TFLITE  # not `network`, whose weights may lie in another file
        if (kept := profiles.read(measured, kind)) is not None:
            if kept.engine != _OPENVINO:
                lite, profile = load_litert()
                return _use_litert(lite, replace(profile, race=kept.race), manifest)
            try:
                runner = _compile(network, manifest, kept)
            except ValueError as error:
                wrong = str(error)
            else:
                if not (wrong := _find_mismatch(golden, runner, manifest, kept.precision)):
                    return _use_openvino(runner, kept, folder, manifest, checked=True)
            _log.warning("%s: OpenVINO ran it before and cannot now: %s; the engines race again", name, wrong)
        lite, profile = load_litert()  # measures too, where nobody has yet
        precisions = openvino.find_precisions() if fast else (openvino.FLOAT32,)
        version_race = VersionRace(network, manifest, golden, lite, profile)

        def run() -> "tuple[OpenVINORunner | None, Profile]":
            with self._racing, profiles.one_at_a_time():  # two measurements would slow each other down
                found = profiles.read(measured, kind)
                if found is not None and found != kept:  # another worker's
                    return None, found
                runner, found = version_race.run(precisions, self.name)
                if found.race:
                    profiles.write(measured, found, kind)
                else:  # nothing was found out: the next start tries again
                    profiles.remember(measured, found, kind)
                return runner, found

        try:
            faster, found = _run_beside(run, self.patience if self.name == _AUTO else None, name, report_decided)
        except TimeoutError:
            _log.info("%s: LiteRT runs it while the race goes on in the background", name)
            # One of its own: what is measured beside requests on the same interpreters would look slow.
            return _use_litert(_load_tuned(folder / TFLITE, profile), replace(profile, racing=True), manifest)
        if found.engine != _OPENVINO:
            return _use_litert(lite, replace(profile, race=found.race), manifest)
        try:
            return _use_openvino(faster or _compile(network, manifest, found), found, folder, manifest)
        except ValueError as error:
            _log.warning("%s; LiteRT runs it", error)
            return _use_litert(lite, replace(profile, race=found.race), manifest)

    def _is_fast(self, manifest: Manifest) -> bool:
        """Whether bfloat16 takes part."""
        return self.precision == "fast" or (self.precision == "exported" and manifest.precision not in _EXACT)


@dataclass(frozen=True, slots=True)
class Chosen:
    """`runners` has that of each signature that needs no graph, `given` what the runner of images gives. `checked` says
    that it has given the golden answers.
    """

    runners: Mapping[str, Runner]
    given: Mapping[str, Signature]
    profile: Profile
    checked: bool = False


@dataclass(frozen=True, slots=True)
class VersionRace:
    """The engines that can run one version. `network` is what OpenVINO reads; `profile` is LiteRT's."""

    network: Path
    manifest: Manifest
    golden: Golden | None
    lite: "LiteRTRunner"
    profile: Profile

    def run(self, precisions: tuple[str, ...], engine: str = _AUTO) -> "tuple[OpenVINORunner | None, Profile]":
        """The winner's runner and its profile; None and LiteRT's where that wins, which it cannot where `engine` is
        "openvino". A profile has what all of them cost.

        Engines run in the layout that is LiteRT's best here; the winner then tries the other one.
        """
        from service.backends.embedded import race

        name = _name_version(self.manifest)
        _log.info("%s: a race of engines begins, once on this machine", name)
        began = time.monotonic()
        findings: dict[str, str] = {}
        runners: dict[str, OpenVINORunner] = {}
        profiles: dict[str, Profile] = {}
        for precision in precisions:
            rival = f"{_OPENVINO} {precision}"
            try:
                runners[rival], profiles[rival] = self._compile(precision, self.profile.lanes, self.profile.threads)
            except ValueError as error:
                findings[rival] = str(error)
        costs, failed = race.measure_in_turns(
            self._make_calls({race.LITERT: self.lite, **runners}), _SECONDS, self.profile.lanes
        )
        known = max((by_rows.get(1, 0.0) for by_rows in self.profile.milliseconds.values()), default=0.0)
        if engine == _AUTO and race.LITERT in costs and costs[race.LITERT][1] > _BUSY * known > 0:
            _log.warning(
                "%s: this machine is too busy to compare engines: LiteRT took %.3g ms for what takes it %.3g ms; it "
                "runs the version, and the next start compares again",
                name,
                costs[race.LITERT][1],
                known,
            )
            return None, replace(self.profile, race={})
        findings = {rival: race.describe_costs(costs[rival]) for rival in race.rank(costs)} | failed | findings
        chosen = None
        for rival in race.rank(costs):
            if rival == race.LITERT and engine == _AUTO:
                break
            if rival == race.LITERT:
                continue
            if wrong := _find_mismatch(self.golden, runners[rival], self.manifest, profiles[rival].precision):
                findings[rival] = f"its answers are not those at export: {wrong}"
                continue
            chosen = rival
            break
        if chosen is None:
            return None, replace(self.profile, race=findings)
        runner, profile = self._choose_layout(runners[chosen], profiles[chosen], costs[chosen])
        profile = self._add_buckets(runner, profile, costs[chosen])
        _log.info("%s: the race took %.1f s", name, time.monotonic() - began)
        return runner, replace(profile, race=findings)

    def _compile(self, precision: str, lanes: int, threads: int) -> "tuple[OpenVINORunner, Profile]":
        """A runner, and its profile without milliseconds. Raises ValueError."""
        before, began = resident_mb(), time.perf_counter()
        made = Profile(machine(), lanes, threads, {}, 0.0, 0.0, engine=_OPENVINO, precision=precision)
        runner = _compile(self.network, self.manifest, made)
        return runner, replace(
            made,
            load_seconds=round(time.perf_counter() - began, 4),
            peak_mb=round(resident_mb() - before, 1),
        )

    def _make_calls(self, runners: "Mapping[str, LiteRTRunner | OpenVINORunner]") -> dict[str, Callable[[int], object]]:
        """Calls of a signature that all of them have."""
        from service.backends.embedded import race
        from service.backends.embedded.autotune import make_inputs

        shared = [
            name for name in self.manifest.signatures if all(name in each.signatures for each in runners.values())
        ]

        if not shared:
            return {}
        rows_of = {rows: make_inputs(self.manifest.signatures[shared[0]], rows) or {} for rows in (1, race.MANY)}

        def bind(runner: "LiteRTRunner | OpenVINORunner") -> Callable[[int], object]:
            return lambda rows: runner.call(shared[0], rows_of[rows])

        return {name: bind(runner) for name, runner in runners.items()}

    def _choose_layout(
        self, runner: "OpenVINORunner", profile: Profile, costs: Mapping[int, float]
    ) -> "tuple[OpenVINORunner, Profile]":
        """The runner and profile of the better layout."""
        from service.backends.embedded import autotune, race

        if cores() == 1 or race.MANY not in costs or costs[race.MANY] > _LARGE:
            return runner, profile
        other = (1, cores()) if profile.threads == 1 else (cores(), 1)
        try:
            rival, rival_profile = self._compile(profile.precision, *other)
        except ValueError:
            return runner, profile
        by_threads = {profile.threads: (runner, profile), rival_profile.threads: (rival, rival_profile)}
        calls = self._make_calls({str(threads): each for threads, (each, _) in by_threads.items()})
        found, _ = race.measure_in_turns(calls, _LAYOUT_SECONDS, cores())
        both = [(each[1], each.get(race.MANY, each[1] * race.MANY)) for each in (found["1"], found[str(cores())])]
        return by_threads[cores() if autotune.is_wide_better(*both) else 1]

    def _add_buckets(self, runner: "OpenVINORunner", profile: Profile, costs: Mapping[int, float]) -> Profile:
        """`profile` with the milliseconds of every signature: the runner's own, and LiteRT's of the others."""
        from service.backends.embedded import autotune

        found = autotune.measure_buckets(runner.call, runner.signatures, _BUCKETS_SECONDS, runner.slots)
        own = {
            name: {rows: round(value, 4) for rows, value in sorted({**costs, **by_rows}.items())}
            for name, by_rows in found.items()
        }
        return replace(profile, milliseconds={**self.profile.milliseconds, **own})


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


def _is_installed() -> bool:
    return find_spec("openvino") is not None


def _find_network(folder: Path, manifest: Manifest) -> Path | None:
    """The file of a version that OpenVINO can read; None where it has none."""
    if (own := folder / OPENVINO).is_file():
        return own
    return folder / TFLITE if manifest.precision in _EXACT and (folder / TFLITE).is_file() else None


def _name_version(manifest: Manifest) -> str:
    return f"{manifest.name}/{manifest.version}"


def _use_litert(lite: "LiteRTRunner", profile: Profile, manifest: Manifest) -> Chosen:
    by_signature = {name: lite for name in lite.signatures if name in manifest.signatures}
    return Chosen(by_signature, lite.signatures, replace(profile, precision=manifest.precision))


def _use_openvino(
    runner: "OpenVINORunner", profile: Profile, folder: Path, manifest: Manifest, *, checked: bool = False
) -> Chosen:
    """LiteRT's memory goes now, and some comes with the first call of what it alone can run."""
    rest = DeferredRunner(partial(_load_rest, folder / TFLITE))
    others = dict.fromkeys(set(profile.milliseconds) & set(manifest.signatures), rest)
    runners = {**others, **dict.fromkeys(runner.signatures, runner)}
    return Chosen(runners, runner.signatures, profile, checked)


def _run_beside(run: Callable[[], T], patience: float | None, name: str, report: Callable[[], None]) -> T:
    """`run`'s result, or whatever it raises, from a thread of its own.

    Raises TimeoutError after `patience` seconds; `run` then goes on, and `report` is called when it has ended well.
    """
    outcome = Future[T]()

    def work() -> None:
        give_way()
        try:
            outcome.set_result(run())
        except BaseException as error:
            outcome.set_exception(error)

    def end(done: Future[T]) -> None:
        if (error := done.exception()) is None:
            report()
        else:
            _log.error("%s: the race of engines failed: %s", name, error)

    threading.Thread(target=work, name="race", daemon=True).start()
    try:
        return outcome.result(patience)
    except TimeoutError:
        outcome.add_done_callback(end)
        raise


def _find_mismatch(golden: Golden | None, runner: "OpenVINORunner", manifest: Manifest, precision: str) -> str:
    if golden is None or golden.signature not in runner.signatures:
        return ""
    try:
        answers = runner.call(golden.signature, golden.inputs)
    except ServiceError as error:
        return error.message
    return find_mismatch(golden, answers, manifest, precision)


def _compile(network: Path, manifest: Manifest, profile: Profile) -> "OpenVINORunner":
    """Raises ValueError where OpenVINO cannot run it."""
    from service.backends.embedded.litert import Layout
    from service.backends.embedded.openvino import OpenVINORunner

    return OpenVINORunner(network, manifest.signatures, profile.precision, Layout(profile.lanes, profile.threads))


def _load_tuned(path: Path, profile: Profile) -> "LiteRTRunner":
    from service.backends.embedded import autotune

    return autotune.load_tuned(path, profile)


def _load_rest(path: Path) -> "LiteRTRunner":
    """One lane on all cores. Raises ValueError where `path` is no TFLite model."""
    from service.backends.embedded.litert import Layout, LiteRTRunner, ModelFile

    return LiteRTRunner(ModelFile.read(path), Layout(1, cores()))
