"""`python -m loadtest.sizing results.json --rate 2000 --slo-ms 100`: how many replicas a load takes, from a load test.

A replica is what the load test measured: the same processors, the same flags, the same network in between. What one
of them can do is the highest rate at which 99 % of all requests are answered within the SLO; where the run searched for
it, the lower end of its confidence interval counts.

    replicas = ceil(rate / (what one can do x utilization)) + spare
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from loadtest.results import Point, Run, Subject

_ALLOWED = 0.01  # of a load's requests may be late, or not answered at all
_OPEN = ("steps", "search", "soak", "server")


class SizingError(Exception):
    """Why a run does not say how many replicas there have to be."""


@dataclass(frozen=True, slots=True)
class Able:
    """What one replica does within the SLO, in requests/s, and how that is known."""

    rate: float
    known: str


@dataclass(frozen=True, slots=True)
class Sizing:
    """`threshold` is the requests/s of one replica that an autoscaler aims at; `utilization` is what that is of what it
    can do; `price` in dollars an hour.
    """

    able: Able
    replicas: int
    threshold: float
    utilization: float
    price: float | None


def able(subject: "Subject", slo_ms: float) -> Able:
    """Raises SizingError."""
    capacity = subject.capacity
    if capacity is not None and capacity.slo_ms <= slo_ms:
        known = f"searched, 95 % sure of {capacity.low:.0f} to {capacity.high:.0f}"
        return Able(capacity.low, known if capacity.slo_ms == slo_ms else f"{known}, at {capacity.slo_ms:g} ms")
    loads = sorted(
        (point for point in subject.points if point.offered and point.scenario in _OPEN and point.invalid is None),
        key=lambda point: point.offered or 0.0,
    )
    if not loads:
        raise SizingError("no open-loop load that can be believed: a closed loop waits for the service, users do not")
    kept = 0.0
    for point in loads:
        if _late(point, slo_ms / 1000) > _ALLOWED:
            break
        kept = point.offered or 0.0
    if not kept:
        first = loads[0].latencies.percentile(99)
        said = f"p99 was {1000 * first:.0f} ms" if first is not None else "nothing was answered"
        raise SizingError(f"none of its loads kept p99 within {slo_ms:g} ms; at {loads[0].offered:.0f}/s {said}")
    past = next((point.offered for point in loads if (point.offered or 0.0) > kept), None)
    return Able(kept, f"the last load that kept it; {past:.0f}/s did not" if past else "no load went past it: at least")


def size(one: Able, rate: float, utilization: float, spare: int, price: float | None) -> Sizing:
    """`rate` in requests/s is the peak; `price` in dollars an hour is a replica's."""
    threshold = one.rate * utilization
    replicas = max(2, ceil(rate / threshold) + spare)
    return Sizing(one, replicas, threshold, rate / (replicas * one.rate), None if price is None else price * replicas)


def _late(point: "Point", slo: float) -> float:
    """Share of a load's requests that were not answered within `slo` seconds."""
    within = max((below for seconds, below in point.latencies.cumulative() if seconds <= slo), default=0)
    return 1 - within / point.requests if point.requests else 1.0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m loadtest.sizing",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("results", type=Path, help="results.json of `python -m loadtest`")
    add("--rate", type=float, required=True, metavar="N", help="requests/s at the peak")
    add("--slo-ms", type=float, required=True, metavar="MS", help="99 %% of the answers are due within this")
    add("--models", nargs="+", metavar="NAME", help="of the report (all)")
    add(
        "--utilization",
        type=float,
        default=0.6,
        metavar="SHARE",
        help="of what a replica can do; the rest is for bursts, and for the minute that a new pod takes (0.6)",
    )
    add("--spare", type=int, default=1, metavar="N", help="replicas that may be away: a rollout, a lost node (1)")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    parser = _parser()
    given = parser.parse_args(arguments)
    for flag, value, good, expected in (
        ("--rate", given.rate, given.rate > 0, "a number above 0"),
        ("--slo-ms", given.slo_ms, given.slo_ms > 0, "a number above 0"),
        ("--utilization", given.utilization, 0 < given.utilization <= 1, "a share above 0, at most 1"),
        ("--spare", given.spare, given.spare >= 0, "a number from 0"),
    ):
        if not good:
            parser.error(f"invalid {flag}: expected {expected}, got {value:g}")
    from loadtest.results import Run

    try:
        run = Run.read(given.results)
    except OSError as error:
        parser.error(f"{given.results} cannot be read ({error.strerror}); `python -m loadtest` writes one")
    except ValueError as error:
        parser.error(str(error))
    names = [subject.model for subject in run.subjects]
    if missing := sorted(set(given.models or ()) - set(names)):
        parser.error(f"{given.results} has no {', '.join(missing)}; it has {', '.join(names)}")
    return _print(run, given)


def _print(run: "Run", given: argparse.Namespace) -> int:
    rows, told = [("model", "version", "one can do", "replicas", "busy", "aim at", "$/h", "")], 0
    for subject in run.subjects:
        if given.models and subject.model not in given.models:
            continue
        head = subject.model, f"{subject.version} {subject.precision}"
        try:
            found = size(able(subject, given.slo_ms), given.rate, given.utilization, given.spare, run.price_per_hour)
        except SizingError as error:
            rows.append((*head, "-", "-", "-", "-", "-", str(error)))
            continue
        told += 1
        rows.append(
            (
                *head,
                f"{found.able.rate:.0f}/s",
                f"{found.replicas}",
                f"{found.utilization:.0%}",
                f"{floor(found.threshold)}/s",
                "-" if found.price is None else f"{found.price:.2f}",
                found.able.known,
            )
        )
    print(f"{given.rate:g} requests/s, p99 within {given.slo_ms:g} ms, on replicas of: {_machine(run)}\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(
                _aligned(cell, width, number) for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
        )
    print("\n'aim at' is what autoscalers take: KEDA's threshold, averageValue of model_server_offered_per_second")
    return 0 if told else 1


def _aligned(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column in (0, 1, 7) else cell.rjust(width)


def _machine(run: "Run") -> str:
    return (
        ", ".join(run.machine[what] for what in ("processor", "cores", "memory") if what in run.machine) or run.service
    )


if __name__ == "__main__":
    sys.exit(main())
