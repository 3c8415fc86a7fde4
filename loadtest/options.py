"""The command line of `python -m loadtest`: every mistake is one line that says what to do."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from loadtest.analysis.budgets import Budget
from loadtest.generator.protocols import PROTOCOLS
from loadtest.report import flags
from loadtest.results import Run
from loadtest.scenario_names import ABOUT, DEFAULT
from service.command_line import add_version_flag, name_program, suggest_flags

ALL = "all"
OVERHEAD = (1, 8, 32, 128)


class UsageError(Exception):
    """Why a command line cannot be run, in one line."""


@dataclass(frozen=True)
class Options:
    """`models` and `rates` are empty for all of them and for those that fit; `service` are flags of the one started."""

    models: tuple[str, ...]
    url: str
    grpc: str
    repository: Path
    protocols: tuple[str, ...]
    scenarios: tuple[str, ...]
    overhead: bool
    seconds: float
    slo_ms: float
    rates: tuple[float, ...]
    images: Path | None
    price_per_hour: float | None
    output: Path
    baseline: Run | None
    budgets: tuple[Budget, ...]
    service: tuple[str, ...]


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(suggest_flags(message, self))


def parse(given: Sequence[str]) -> Options:
    """Raises UsageError; prints and exits for --help."""
    ours, service = _split(given)
    found = _parser().parse_args(ours)
    if found.url and service:
        raise UsageError("flags after -- are for a service that is started here, and --url starts none")
    if found.url and found.overhead:
        raise UsageError("--overhead starts a service of its own, with a model that costs nothing; leave --url out")
    if not found.url and not found.overhead and not found.repository.is_dir():
        raise UsageError(
            f"--repository {found.repository} is not a folder; export a model (python -m export --model lenet5), "
            "or name a running service with --url"
        )
    if found.images is not None and not found.images.is_dir():
        raise UsageError(f"--images {found.images} is not a folder")
    try:
        flags.check(found)
    except ValueError as error:
        raise UsageError(str(error)) from error
    if found.output.exists() and not found.output.is_dir():
        raise UsageError(f"--output {found.output} is a file; name a folder")
    return Options(
        models=() if found.models == ALL else _names(found.models, "--models"),
        url=found.url,
        grpc=found.grpc_target,
        repository=found.repository,
        protocols=_known(found.protocols, "--protocols", tuple(PROTOCOLS)),
        scenarios=_known(found.scenarios, "--scenarios", tuple(ABOUT)),
        overhead=found.overhead,
        seconds=found.seconds,
        slo_ms=found.latency_slo_ms,
        rates=tuple(map(_positive, _names(found.rates, "--rates"))) if found.rates else (),
        images=found.images,
        price_per_hour=found.price_per_hour,
        output=found.output,
        baseline=found.baseline,
        budgets=tuple(found.budget),
        service=tuple(service),
    )


def _split(given: Sequence[str]) -> tuple[list[str], list[str]]:
    words = list(given)
    if "--" not in words:
        return words, []
    at = words.index("--")
    return words[:at], words[at + 1 :]


def _parser() -> argparse.ArgumentParser:
    scenarios = "\n".join(f"  {name:<14} {what}" for name, what in ABOUT.items())
    program = name_program("loadtest")
    parser = _Parser(
        prog=program,
        usage=f"{program} [--FLAG VALUE]... [-- FLAGS OF THE SERVICE]",
        description="Measures every served model under load and writes a report: HTML, PNG, CSV and JSON.",
        epilog=f"scenarios:\n{scenarios}\n\nFlags after -- go to the service that is started:\n"
        f"  {program} --models lenet5 -- --workers 2\n\n"
        "locust -f loadtest/locustfile.py has the same users with Locust's own page and distributed mode.\n\n"
        "exit codes: 0 measured, 1 past a --budget, or a model collapsed or could not be measured, 2 for wrong flags,\n"
        "130 where Ctrl-C ended it early",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add_version_flag(parser)
    add = parser.add_argument_group("what is measured", f"Example: {program} --models lenet5,resnet50").add_argument
    add("--models", default=ALL, metavar="all|NAME[,NAME...]", help="which of the served models (default: all)")
    add("--url", default="", metavar="URL", help="a running service, http://host:8000; without it one is started")
    add("--grpc-target", default="", metavar="HOST:PORT", help="its gRPC (default: port 8500 of the same host)")
    add(
        "--repository",
        type=Path,
        default=Path("model_repository"),
        metavar="DIR",
        help="models of the service that is started (default: model_repository)",
    )
    add(
        "--overhead",
        action="store_true",
        help="measure the service with a model that takes no time, at 1 to 128 requests",
    )
    add = parser.add_argument_group(
        "what is put on it", f"Example: {program} --scenarios steps --rates 50,100,200 --seconds 30"
    ).add_argument
    add(
        "--protocols",
        "--protocol",
        default="predict",
        metavar="NAME[,NAME...]",
        help=f"all, or some of {', '.join(PROTOCOLS)} (default: predict)",
    )
    add(
        "--scenarios",
        "--scenario",
        default=",".join(DEFAULT),
        metavar="NAME[,NAME...]",
        help=f"all, or some of those below, in this order (default: {', '.join(DEFAULT)})",
    )
    add(
        "--latency-slo-ms",
        "--slo-ms",
        type=_positive,
        default=100.0,
        metavar="X",
        help="milliseconds for p99 to stay within (default: 100)",
    )
    add(
        "--seconds",
        type=_positive,
        default=10.0,
        metavar="X",
        help="seconds of each load; up to four times as many where a rate is too low for a p99 (default: 10)",
    )
    add(
        "--rates",
        default="",
        metavar="X[,X...]",
        help="requests/s of steps (default: those of --baseline, else shares of what it can do)",
    )
    add("--images", type=Path, metavar="DIR", help="JPEGs to send (default: two photographs in three sizes)")
    group = parser.add_argument_group(
        "what is reported", f"Example: {program} --baseline old.json --budget p99=+10% --output build/new"
    )
    group.add_argument(
        "--price-per-hour",
        type=_positive,
        metavar="DOLLARS",
        help="of the machine, for the cost of a million answers",
    )
    group.add_argument(
        "--output",
        type=Path,
        default=Path("build/loadtest"),
        metavar="DIR",
        help="where report.html, report.png, report.csv, results.json and LoadGen's logs go (default: build/loadtest)",
    )
    flags.add(group)
    return parser


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 1e9:
        raise argparse.ArgumentTypeError(f"expected a number above 0, got {text!r}")
    return value


def _names(text: str, flag: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
    if not names:
        raise UsageError(f"invalid {flag}: expected names, got nothing")
    return names


def _known(text: str, flag: str, known: tuple[str, ...]) -> tuple[str, ...]:
    names = known if text == ALL else _names(text, flag)
    if unknown := [name for name in names if name not in known]:
        raise UsageError(f"invalid {flag} {', '.join(unknown)}: expected all, or some of {', '.join(known)}")
    return names
