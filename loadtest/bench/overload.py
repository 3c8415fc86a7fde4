"""`python -m loadtest.bench.overload`: five times what the service can do for a minute, and what becomes of it.

The load comes from this process, on the same machine: what it takes is the server's loss.
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from loadtest import machine
from loadtest.bench import wrk
from loadtest.bench.open_loop import OpenLoop, Outcome
from loadtest.server_process import ServerProcess
from loadtest.tables import markdown

_TIMES = 5.0
_CALM = 0.5  # of capacity, afterwards
_RECOVERED = 0.99  # of a second's requests answered in time
_REPORT = Path("docs/overload.md")


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one rate, in requests/s and milliseconds; `refused` and `late` are shares of what was offered."""

    offered: float
    goodput: float
    p99: float
    refused: float
    late: float
    failed: float


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m loadtest.bench.overload", description=__doc__)
    parser.add_argument("repository", type=Path, help="folder of models")
    parser.add_argument("model", help="a model of some milliseconds an image: the load generator needs cores too")
    parser.add_argument("--slo-ms", type=float, default=250.0, help="the service's --latency-slo-ms (250)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of overload (60)")
    parser.add_argument("--report", type=Path, default=_REPORT)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        text = runner.run(_measure(arguments))
    arguments.report.write_text(text, encoding="utf-8")
    print(text)


async def _measure(arguments: argparse.Namespace) -> str:
    slo = arguments.slo_ms / 1000
    with tempfile.TemporaryDirectory() as folder:
        photo = machine.write_photo(Path(folder, "photo.jpg"))
        slo_flag = "--latency-slo-ms", str(arguments.slo_ms)
        server = ServerProcess.service(arguments.repository, arguments.model, *slo_flag)
        with server:
            closed = await asyncio.to_thread(wrk.measure, server.url, photo, 8, 5.0)
            capacity = closed.requests / closed.seconds
            client = OpenLoop(server.url, photo.read_bytes())
            loads = {}
            for share in (0.8, 0.9, 1.0):
                _say(f"{share:.0%} of {capacity:.0f} requests/s")
                loads[f"{share:.0%} of capacity"] = _summary(await client.run(_poisson(share * capacity, 8)), slo, 8)
            before = server.memory_mb()
            _say(f"{_TIMES:g} times capacity for {arguments.seconds:g} s, then {_CALM:.0%}")
            outcomes = await client.run(
                [*_poisson(_TIMES * capacity, arguments.seconds)]
                + [arguments.seconds + start for start in _poisson(_CALM * capacity, 10)]
            )
            after = server.memory_mb()
            await client.close()
    hard = [outcome for outcome in outcomes if outcome.intended < arguments.seconds]
    loads[f"{_TIMES:g} times capacity"] = _summary(hard, slo, arguments.seconds)
    calm = [outcome for outcome in outcomes if outcome.intended >= arguments.seconds]
    recovery = _recovery(calm, arguments.seconds, slo)
    return _render(arguments, capacity, loads, recovery, before, after)


def _poisson(rate: float, seconds: float) -> list[float]:
    times = np.cumsum(np.random.default_rng(0).exponential(1 / rate, int(rate * seconds * 1.2) + 50))
    return [float(start) for start in times[times < seconds]]


def _summary(outcomes: Sequence[Outcome], slo: float, seconds: float) -> Load:
    answered = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    late = sum(outcome.status == 504 for outcome in outcomes) + sum(taken > slo for taken in answered)
    count = len(outcomes)
    return Load(
        offered=count / seconds,
        goodput=sum(taken <= slo for taken in answered) / seconds,
        p99=1000 * float(np.percentile(answered, 99)) if answered else float("nan"),
        refused=sum(outcome.status == 429 for outcome in outcomes) / count,
        late=late / count,
        failed=sum(outcome.status not in (200, 429, 504) for outcome in outcomes) / count,
    )


def _recovery(outcomes: Sequence[Outcome], end: float, slo: float) -> float:
    """Seconds after the overload's end until a half second comes in which nearly all are answered in time."""
    for step in range(20):
        start = end + step / 2
        window = [outcome for outcome in outcomes if start <= outcome.intended < start + 0.5]
        good = sum(outcome.status == 200 and outcome.seconds <= slo for outcome in window)
        if window and good >= _RECOVERED * len(window):
            return step / 2
    return float("inf")


def _render(
    arguments: argparse.Namespace, capacity: float, loads: dict[str, Load], recovery: float, before: float, after: float
) -> str:
    peak = max(load.goodput for name, load in loads.items() if "times" not in name)
    hard = loads[f"{_TIMES:g} times capacity"]
    goals = [
        ("goodput, of the best seen up to capacity", "at least 0.90", hard.goodput / peak, hard.goodput / peak >= 0.9),
        (
            "p99 of what was let in, of the SLO",
            "at most 1.00",
            hard.p99 / arguments.slo_ms,
            hard.p99 <= arguments.slo_ms,
        ),
        ("seconds until the service is itself again", "at most 2.00", recovery, recovery <= 2),
        ("memory after, of before", "at most 1.50", after / before, after <= 1.5 * before),
    ]
    head = f"""# Overload

Written by `python -m loadtest.bench.overload`; do not edit.

- {machine.describe()}
- {arguments.model}, an open loop of Poisson arrivals of a 640x427 JPEG over HTTP
- `--latency-slo-ms {arguments.slo_ms:g}`; latency counts from the intended start; the generator shares the cores
- capacity, what a closed loop of 8 gets: {capacity:.0f} requests/s
- {arguments.seconds:g} s of {_TIMES:g} times that, then {_CALM:.0%} of it
- memory: {before:.0f} MB before, {after:.0f} MB after

"""
    rows = [(what, wanted, f"{measured:.2f}", "met" if met else "not met") for what, wanted, measured, met in goals]
    table = []
    for name, load in loads.items():
        shares = (f"{share:.1%}" for share in (load.refused, load.late, load.failed))
        table.append((name, f"{load.offered:.0f}", f"{load.goodput:.0f}", f"{load.p99:.0f}", *shares))
    columns = ("load", "offered/s", "in time/s", "p99 ms", "refused (429)", "late or 504", "failed")
    goal_table = markdown(("goal", "wanted", "measured", ""), rows, text=(0, 3))
    return f"{head}{goal_table}\n\n{markdown(columns, table)}\n"


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    main()
