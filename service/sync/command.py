"""`python -m service sync`: copies model versions between export jobs, object stores and nodes."""

import argparse
import logging
import signal
import sys
import time
from collections.abc import Sequence
from types import FrameType
from typing import TYPE_CHECKING, NoReturn

from service.command_line import name_program
from service.sync.locations import SyncError, open_location

if TYPE_CHECKING:  # `--help` answers at once
    from service.sync.copy import Copier
    from service.sync.metrics import SyncMetrics

_DESCRIPTION = """\
Copies model versions, NAME/NUMBER/..., from SOURCE to DESTINATION. Readers see a version whole or not at all.
Each side is a folder, or s3://bucket/prefix, gs://bucket/prefix, az://account/container/prefix; credentials come from
the environment (AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, a workload identity, GOOGLE_APPLICATION_CREDENTIALS, ...).
"""
_EXAMPLES = """\
an init container:    %(prog)s s3://models/production /models --keep 2
a sidecar:            %(prog)s s3://models/production /models --keep 2 --watch-interval-seconds 30
after an export:      %(prog)s model_repository s3://models/production --as-next

exit codes: 0 done, and after SIGTERM of a sidecar; 1 where a side cannot be read or written; 2 for wrong flags;
130 after Ctrl-C, 143 after SIGTERM in the middle of a pass

A version whose number is at the destination is not copied again. A model that SOURCE no longer has stays; a version
that SOURCE no longer has is removed by --keep.
"""


class _Stopped(BaseException):
    """SIGTERM. Not an Exception, so that no handler of failures catches it."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        name_program("service sync"),
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("source", metavar="SOURCE")
    add("destination", metavar="DESTINATION")
    add("--models", nargs="+", default=["*"], metavar="GLOB", help="globs of the models to copy (default: all)")
    add(
        "--keep",
        type=_count,
        default=0,
        metavar="N",
        help="copy a model's newest N versions, remove the others",
    )
    add(
        "--watch-interval-seconds",
        type=_seconds,
        metavar="SECONDS",
        help="make a pass this often, until SIGTERM",
    )
    add(
        "--metrics-port",
        type=int,
        metavar="PORT",
        help="with --watch-interval-seconds: Prometheus' page is at this port",
    )
    add("--as-next", action="store_true", help="publish each model's newest version under DESTINATION's next number")
    add("--log-format", choices=["text", "json"], default="text", help="text for people, or json: one event a line")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    if given.watch_interval_seconds is None and given.metrics_port is not None:
        parser.error("--metrics-port goes with --watch-interval-seconds")
    if given.watch_interval_seconds is not None and given.as_next:
        parser.error("--as-next publishes once; leave --watch-interval-seconds out")
    from service.observability import logs
    from service.sync.copy import Copier, Wanted

    logs.configure("INFO", given.log_format)
    signal.signal(signal.SIGTERM, _stop)
    try:
        source, destination = open_location(given.source), open_location(given.destination, create=True)
        copier = Copier(source, destination, Wanted(tuple(given.models), given.keep, given.as_next))
        if given.watch_interval_seconds is None:
            logging.getLogger("service.sync").info("%s", copier.run())
            return 0
        _watch(copier, given.watch_interval_seconds, _metrics(given.source, given.metrics_port))
    except ValueError as error:
        parser.error(str(error))
    except SyncError as error:
        print(f"{name_program('service sync')}: {error}", file=sys.stderr)
        return 1
    except (_Stopped, KeyboardInterrupt) as stopped:
        number = signal.SIGTERM if isinstance(stopped, _Stopped) else signal.SIGINT
        return 0 if given.watch_interval_seconds is not None else 128 + number


def _metrics(source: str, port: int | None) -> "SyncMetrics | None":
    if port is None:
        return None
    from service.sync.metrics import SyncMetrics

    metrics = SyncMetrics(source)
    try:
        metrics.serve(port)
    except (OSError, OverflowError) as error:
        raise SyncError(f"--metrics-port {port}: {error}") from error
    return metrics


def _watch(copier: "Copier", seconds: float, metrics: "SyncMetrics | None") -> NoReturn:
    """Passes until a signal. A failure is logged once and tried again; what was copied is served meanwhile."""
    log, last = logging.getLogger("service.sync"), ""
    while True:
        try:
            outcome = copier.run()
            if metrics is not None:
                metrics.passed(outcome)
            if last or outcome.brought or outcome.removed:
                log.info("%s", outcome)
            last = ""
        except SyncError as error:
            if metrics is not None:
                metrics.failed()
            if str(error) != last:
                log.error("%s; trying again every %g s", error, seconds)
            last = str(error)
        time.sleep(seconds)


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    raise _Stopped


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of versions from 1, got {text!r}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < 86400:
        raise argparse.ArgumentTypeError(f"expected seconds above 0, got {text!r}")
    return seconds
