"""One sitting: services, their models one after another, and what came of each, however it ends."""

import shlex
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from loadtest import results, scenarios
from loadtest.analysis.comparison import steps
from loadtest.generator import photos
from loadtest.generator.parent import GeneratorError, GeneratorProcess
from loadtest.measure import Collapsed, Ended, Loads
from loadtest.options import OVERHEAD, Options
from loadtest.progress import Progress
from loadtest.results import Run, Subject
from loadtest.scenarios import Plan, Sweep
from loadtest.target import machine, target
from loadtest.target.ceiling import PRODUCT, measure_ceiling
from loadtest.target.target import Served, Target, TargetError
from service.host.cpu import cores

LOGS = "loadgen"
_CEILING_SECONDS = 0.5


def measure(options: Options) -> Run:
    """What was measured, to its end or not. Raises TargetError or GeneratorError before the first load."""
    with ExitStack() as running:
        existing = target.existing(options.url, options.grpc) if options.url else None
        if existing is not None:
            names = existing.names(options.models)
        elif options.overhead:
            names = (target.FAKE,)
        else:
            names = target.names(options.repository, options.models)
        sent = _photos(options, Path(running.enter_context(tempfile.TemporaryDirectory())))
        generator = running.enter_context(GeneratorProcess())
        progress = running.enter_context(Progress(len(names)))
        here = existing is None or existing.pid is not None
        run = Run(results.now(), machine.facts(), _measured(options), _method(options, here), options.price_per_hour)
        sitting = _Sitting(options, run, generator, sent, progress)
        try:
            for name in names:
                progress.model(name)
                sitting.measure(name, existing)
        except (Ended, GeneratorError) as error:
            run.interrupted = str(error)
        except KeyboardInterrupt:
            run.interrupted = "Ctrl-C"
    return run


@dataclass(frozen=True)
class _Sitting:
    options: Options
    run: Run
    generator: GeneratorProcess
    photos: list[str]
    progress: Progress

    def measure(self, name: str, existing: Target | None) -> None:
        """One model; what it cannot be measured for, or not to the end, becomes its problem: the others come next.

        Raises Ended, and GeneratorError where no generator can be started any more.
        """
        try:
            with _serving(name, existing, self.options) as serving:
                self._measure(serving.model(name), serving)
        except TargetError as error:
            self._leave_out(Subject(name, 0, name, "", 0), str(error))

    def _measure(self, served: Served | Subject, serving: Target) -> None:
        if isinstance(served, Subject):
            self._leave_out(served, served.problem or "")
            return
        subject, options, slo = served.subject, self.options, self.options.slo_ms / 1000
        self.run.subjects.append(subject)
        try:
            for protocol in options.protocols:
                rates = options.rates or (steps(options.baseline, subject, protocol) if options.baseline else ())
                plan = Plan(options.scenarios, options.seconds, slo, options.output / LOGS, rates)
                loads = Loads(self.generator, serving, served, protocol, self.photos, slo, self.progress)
                if options.overhead:
                    scenarios.overhead(subject, loads, OVERHEAD, options.seconds, self.progress.say)
                else:
                    Sweep(subject, protocol, loads, plan, self.progress.say).run()
            if serving.pid is not None and subject.macs:  # at last: engines race no more, and nothing else runs
                self.progress.say("measuring the ceiling")
                subject.ceiling = measure_ceiling(subject.engine, subject.engine_precision, cores(), _CEILING_SECONDS)
        except Ended as error:
            subject.problem = f"not measured to the end: {error}"
            raise
        except (Collapsed, GeneratorError) as error:
            subject.collapsed = True
            subject.problem = f"collapsed: {str(error).splitlines()[0]}"
            self.progress.tell(f"{subject.model} collapsed: {error}")
            if isinstance(error, GeneratorError):
                self.generator.restart()

    def _leave_out(self, subject: Subject, why: str) -> None:
        subject.problem = why.splitlines()[0]
        self.run.subjects.append(subject)
        self.progress.tell(f"{subject.model}: left out, {why}")


@contextmanager
def _serving(name: str, existing: Target | None, options: Options) -> Iterator[Target]:
    """A service for one model alone, so that the memory that is measured is that model's; or the one there is."""
    if existing is not None:
        yield existing
        return
    if options.overhead:
        with target.started(options.repository, (*options.service, "--backend", "fake")) as started:
            yield started
        return
    with tempfile.TemporaryDirectory() as alone:
        Path(alone, name).symlink_to((options.repository / name).resolve())
        with target.started(Path(alone), options.service) as started:
            yield started


def _photos(options: Options, folder: Path) -> list[str]:
    """Paths; none where the picture does not matter. Raises ValueError for a folder without any."""
    if options.overhead:
        return []
    return list(map(str, photos.found(options.images) if options.images else photos.write(folder)))


def _measured(options: Options) -> str:
    if options.url:
        return options.url
    models = ("--backend", "fake") if options.overhead else ("--repository", str(options.repository))
    return shlex.join(["python", "-m", "service", *models, *options.service])


def _method(options: Options, here: bool) -> dict[str, str]:
    """`here` says whether the service runs on this machine."""
    sent = (
        "an 8x8 JPEG" if options.overhead else str(options.images or "two photographs in three sizes, 320 to 1280 wide")
    )
    method = {
        "scenarios": "overhead" if options.overhead else ", ".join(options.scenarios),
        "protocols": ", ".join(options.protocols),
        "seconds": f"{options.seconds:g} a load, up to four times that for the 299 answers that a p99 takes",
        "slo_ms": f"{options.slo_ms:g}",
        "images": sent,
        "services": "one for all models, which ran already" if options.url else "one for each model, on this machine",
        "ceiling": f"a matrix product of {PRODUCT} on all cores here, in the engine and precision of each model"
        if here
        else "not measured: the service runs on another machine",
        "generator": "one process on this machine, whose cores it shares with the service where that is here too",
    }
    return method | ({"rates": ", ".join(f"{rate:g}" for rate in options.rates)} if options.rates else {})
