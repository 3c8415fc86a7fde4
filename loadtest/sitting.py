"""One sitting: a service, its models one after another, and the report at the end, however that comes."""

import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from loadtest import machine, photos, results, scenarios, target
from loadtest.arguments import OVERHEAD, Options
from loadtest.generator_process import GeneratorProcess
from loadtest.loads import Ended, Loads
from loadtest.progress import Progress
from loadtest.results import Run, Subject
from loadtest.scenarios import Plan
from loadtest.target import Served, Target

LOGS = "loadgen"


def measure(options: Options) -> Run:
    """What was measured, to its end or not. Raises TargetError or GeneratorError before the first load."""
    with ExitStack() as running:
        to_measure = running.enter_context(_target(options))
        models = to_measure.models(options.models)
        sent = _photos(options, Path(running.enter_context(tempfile.TemporaryDirectory())))
        generator = running.enter_context(GeneratorProcess())
        run = Run(results.now(), machine.facts(), to_measure.description, _method(options), options.price_per_hour)
        progress = running.enter_context(Progress(len(models)))
        try:
            for model in models:
                _measure_one(model, run, options, to_measure, generator, sent, progress)
        except Ended as error:
            run.interrupted = str(error)
        except KeyboardInterrupt:
            run.interrupted = "Ctrl-C"
    return run


def _measure_one(
    model: Served | Subject,
    run: Run,
    options: Options,
    to_measure: Target,
    generator: GeneratorProcess,
    sent: list[str],
    progress: Progress,
) -> None:
    subject = model if isinstance(model, Subject) else model.subject
    run.subjects.append(subject)
    progress.model(subject.model)
    if isinstance(model, Subject):
        progress.tell(f"{subject.model}: left out, {subject.problem}")
        return
    slo = options.slo_ms / 1000
    plan = Plan(options.scenarios, options.seconds, slo, options.output / LOGS, options.rates)
    try:
        for protocol in options.protocols:
            loads = Loads(generator, to_measure, model, protocol, sent, slo, progress)
            if options.overhead:
                scenarios.overhead(subject, loads, OVERHEAD, options.seconds, progress.say)
            else:
                scenarios.sweep(subject, protocol, loads, plan, progress.say)
    except Ended as error:
        subject.problem = f"not measured to the end: {str(error).splitlines()[0]}"
        raise


def _photos(options: Options, folder: Path) -> list[str]:
    """Paths; none where the picture does not matter. Raises ValueError for a folder without any."""
    if options.overhead:
        return []
    return list(map(str, photos.found(options.images) if options.images else photos.write(folder)))


@contextmanager
def _target(options: Options) -> Iterator[Target]:
    if options.url:
        yield target.existing(options.url, options.grpc)
        return
    print("starting the service ...", file=sys.stderr)
    backend = ("--backend", "fake") if options.overhead else ()
    with target.started(options.repository, (*options.service, *backend)) as started:
        yield started


def _method(options: Options) -> dict[str, str]:
    sent = "an 8x8 JPEG" if options.overhead else str(options.images or "two photographs in three sizes")
    method = {
        "scenarios": "overhead" if options.overhead else ", ".join(options.scenarios),
        "protocols": ", ".join(options.protocols),
        "seconds": f"{options.seconds:g} s a load, up to four times that for 330 answers; warm-up excluded",
        "slo_ms": f"{options.slo_ms:g}",
        "images": sent,
        "generator": "one process on this machine, whose cores it shares with the service where that is here too",
    }
    return method | ({"rates": ", ".join(f"{rate:g}" for rate in options.rates)} if options.rates else {})
