"""One version's race: what runs it now against the other engines and precisions that could."""

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from service.backends.embedded import race
from service.backends.embedded.profile_store import ProfileStore
from service.host.cpu import cores, machine
from service.host.priority import give_way
from service.host.processes import resident_mb
from service.repository.manifest import Manifest, Profile, Signature
from service.types import Tensors

_log = logging.getLogger(__name__)
T = TypeVar("T")

_BUSY = 4.0  # times what `runner` needs by its profile
_SECONDS = 1.0  # of running engines in turns; compiling them takes about as long
_LAYOUT_SECONDS = 0.6
_BUCKETS_SECONDS = 0.5  # of measuring the winner's other batch sizes
_LARGE = 1000.0  # milliseconds of a batch past which the first layout is taken as it is


class Racer(Protocol):
    """What a race asks of a runner."""

    @property
    def signatures(self) -> Mapping[str, Signature]: ...

    @property
    def slots(self) -> int: ...

    def call(self, signature: str, inputs: Tensors) -> Tensors: ...


@dataclass(frozen=True, slots=True)
class VersionRace:
    """`runner` runs the version by `profile`, and is called `name` in the race; it wins unless another is faster.

    `compile` makes a rival's runner from a profile that names its engine, precision and layout, and raises ValueError
    where it cannot. `find_mismatch` says what is wrong with a rival's answers. The engine whose names begin with
    `light` has an advantage: it needs the least memory.
    """

    manifest: Manifest
    name: str
    runner: Racer
    profile: Profile
    compile: Callable[[Profile], Racer]
    find_mismatch: Callable[[Racer, Profile], str]
    light: str

    def run(self, rivals: Mapping[str, Profile], *, required: bool = False) -> tuple[Racer | None, Profile]:
        """The winner's runner and its profile; None and `profile` where `runner` wins. With `required`, `runner` wins
        only where no other is able to. The profile has what all of them cost; nothing where the race failed, which is
        logged.

        Engines run in the layout of `profile`, which is the best for `runner` alone. The fastest rival that could be
        faster than `runner` in the other layout then runs in both, in turns with `runner`.
        """
        name = f"{self.manifest.name}/{self.manifest.version}"
        try:
            return self._run(name, rivals, required)
        except Exception as error:  # out of memory, for one: what runs the version goes on
            _log.error("%s: the race of engines failed: %s", name, error)
            return None, replace(self.profile, race={})

    def _run(self, name: str, rivals: Mapping[str, Profile], required: bool) -> tuple[Racer | None, Profile]:
        _log.info("%s: a race of engines begins, once on this machine", name)
        began = time.monotonic()
        findings: dict[str, str] = {}
        runners: dict[str, Racer] = {}
        profiles: dict[str, Profile] = {}
        for rival, profile in rivals.items():
            try:
                runners[rival], profiles[rival] = self._compile(profile, self.profile.lanes, self.profile.threads)
            except ValueError as error:
                findings[rival] = str(error)
        costs, failed = race.measure_in_turns(
            self._make_calls({self.name: self.runner, **runners}), _SECONDS, self.profile.lanes
        )
        expected = max((by_rows.get(1, 0.0) for by_rows in self.profile.milliseconds.values()), default=0.0)
        if not required and self.name in costs and costs[self.name][1] > _BUSY * expected > 0:
            _log.warning(
                "%s: this machine is too busy to compare engines: %s took %.3g ms for what takes it %.3g ms; it runs "
                "the version, and the next start compares again",
                name,
                self.name,
                costs[self.name][1],
                expected,
            )
            return None, replace(self.profile, race={})
        ranked = race.rank(costs, self.light)
        findings = {rival: race.describe_costs(costs[rival]) for rival in ranked} | failed | findings
        stays = not required and self.name in costs
        ahead = ranked[: ranked.index(self.name)] if stays else ranked
        # The most that another layout gains is what all cores make of a lone image.
        reach = math.sqrt(cores() / self.profile.threads) * race.find_cost(costs[self.name]) if stays else math.inf
        chosen = None
        for rival in ranked:
            if rival == self.name or (rival not in ahead and race.find_cost(costs[rival]) > reach):
                continue
            if wrong := self.find_mismatch(runners[rival], profiles[rival]):
                findings[rival] = wrong
            else:
                chosen = rival
                break
        if chosen is None:
            return None, replace(self.profile, race=findings)
        winner: tuple[Racer, Profile] | None = runners[chosen], profiles[chosen]
        batch = costs[chosen].get(race.MANY, math.inf)
        if profiles[chosen].engine == race.OPENVINO and cores() > 1 and batch <= _LARGE:
            winner = self._choose_layout(chosen, runners[chosen], profiles[chosen], stays)
        elif chosen not in ahead:
            winner = None
        if winner is None:
            return None, replace(self.profile, race=findings)
        runner, profile = winner
        profile = self._add_buckets(runner, profile, costs[chosen])
        _log.info("%s: the race took %.1f s", name, time.monotonic() - began)
        return runner, replace(profile, race=findings)

    def _compile(self, profile: Profile, lanes: int, threads: int) -> tuple[Racer, Profile]:
        """A runner, and its profile without milliseconds. Raises ValueError."""
        before, began = resident_mb(), time.perf_counter()
        made = replace(profile, lanes=lanes, threads=threads)
        runner = self.compile(made)
        return runner, replace(
            made,
            load_seconds=round(time.perf_counter() - began, 4),
            peak_mb=round(resident_mb() - before, 1),
        )

    def _make_calls(self, runners: Mapping[str, Racer]) -> dict[str, Callable[[int], object]]:
        """Calls of a signature that all of them have."""
        from service.backends.embedded.autotune import make_inputs

        for name, signature in self.manifest.signatures.items():
            if all(name in each.signatures for each in runners.values()) and make_inputs(signature, 1) is not None:
                shared = name
                break
        else:
            return {}
        rows_of = {rows: make_inputs(self.manifest.signatures[shared], rows) or {} for rows in (1, race.MANY)}

        def bind(runner: Racer) -> Callable[[int], object]:
            return lambda rows: runner.call(shared, rows_of[rows])

        return {name: bind(runner) for name, runner in runners.items()}

    def _choose_layout(self, rival: str, runner: Racer, profile: Profile, stays: bool) -> tuple[Racer, Profile] | None:
        """The rival's runner and profile in its better layout; None where `self.runner` stays, which it does only if
        `stays` is true. Batches run on all lanes at once, as they do under load.
        """
        entrants = {f"{rival} {profile.lanes} x {profile.threads}": (runner, profile)}
        lanes, threads = (1, cores()) if profile.threads == 1 else (cores(), 1)
        with suppress(ValueError):
            entrants[f"{rival} {lanes} x {threads}"] = self._compile(profile, lanes, threads)
        made = {name: each for name, (each, _) in entrants.items()} | ({self.name: self.runner} if stays else {})
        calls = self._make_calls(made)
        with ThreadPoolExecutor(max(each.slots for each in made.values())) as pool:

            def bind(name: str) -> Callable[[int], object]:
                return lambda rows: list(pool.map(calls[name], [rows] * (1 if rows == 1 else made[name].slots)))

            found, _ = race.measure_in_turns({name: bind(name) for name in calls}, _LAYOUT_SECONDS, cores())
        shared = {
            name: {rows: took / (1 if rows == 1 else made[name].slots) for rows, took in each.items()}
            for name, each in found.items()
        }
        best = next(iter(race.rank(shared, self.light)), None)
        return (runner, profile) if best is None else entrants.get(best)

    def _add_buckets(self, runner: Racer, profile: Profile, costs: Mapping[int, float]) -> Profile:
        """`profile` with the milliseconds of every signature: the runner's own, and `self.profile`'s of the others."""
        from service.backends.embedded import autotune

        found = autotune.measure_buckets(runner.call, runner.signatures, _BUCKETS_SECONDS, runner.slots)
        own = {
            name: {rows: round(value, 4) for rows, value in sorted({**costs, **by_rows}.items())}
            for name, by_rows in found.items()
        }
        return replace(profile, milliseconds={**self.profile.milliseconds, **own})


def make_rivals(engine: str, precisions: tuple[str, ...]) -> dict[str, Profile]:
    """Name in a race -> profile, without a layout and without costs."""
    return {
        f"{engine} {precision}": Profile(machine(), 1, 1, {}, 0.0, 0.0, engine=engine, precision=precision)
        for precision in precisions
    }


def run_beside(run: Callable[[], T], patience: float | None, name: str, report: Callable[[], None]) -> T:
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
        elif isinstance(error, FileNotFoundError):
            _log.info("%s: it was removed while its engines raced", name)
        else:
            _log.error("%s: the race of engines failed: %s", name, error)

    threading.Thread(target=work, name="race", daemon=True).start()
    try:
        return outcome.result(patience)
    except TimeoutError:
        outcome.add_done_callback(end)
        raise


def keep_outcome(profiles: ProfileStore, model: Path, found: Profile, kind: str) -> None:
    """Keeps what a race found out. Where that is nothing, this process races no more, and the next start does."""
    (profiles.write if found.race else profiles.remember)(model, found, kind)
