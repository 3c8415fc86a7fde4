"""`make overload`: more than the service can do, of networks that are small, middling and large, and what comes of it.

Clients that ask again at once (64 and 256 closed loops) and five times what the network can do (an open loop) meet a
service with a deadline of its own. The load comes from this process, on the same machine: what it takes is the server's
loss.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import uvloop

from benchmarks.loops import MOST_CONNECTIONS, ClosedLoop, OpenLoop, Outcome
from benchmarks.networks import CACHE, UNTRAINED, exported
from loadtest.markdown import markdown
from loadtest.target import machine
from loadtest.target.process import ServerProcess

_PEAK_CONNECTIONS = (8, 16, 32, 64)
_PATIENT = "X-Request-Deadline-Ms: 60000"  # so that none is refused while the peak is searched
_CLOSED = (64, 256)
_TIMES = 5.0
_CALM, _CALM_SECONDS = 0.5, 4.0  # of the peak, afterwards
_RECOVERED = 0.99  # of a half second's requests answered in time
_REPORT = Path("docs/overload.md")


@dataclass(frozen=True, slots=True)
class Network:
    """`slo` is --latency-slo-ms in seconds. A digit is a PNG of 28x28, a photograph a JPEG of 640x427."""

    name: str
    slo: float
    photograph: bool = True


NETWORKS = (Network("lenet5", 0.1, photograph=False), Network("mobilenet_v3_small", 0.1), Network("resnet50", 0.25))


@dataclass(frozen=True, slots=True)
class Load:
    """What came of one load, in requests/s and seconds. `refused` and `failed` are shares of what was asked, `late` (or
    504) of what was let in. `recovery` is how long the service took to be itself again.
    """

    name: str
    asked: float
    goodput: float
    p99: float
    refused: float
    late: float
    failed: float
    recovery: float


@dataclass(frozen=True, slots=True)
class Result:
    """`memory` is what the server took after, of what it took before."""

    network: Network
    peak: float
    loads: Sequence[Load]
    memory: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overload", description=__doc__)
    parser.add_argument("--repository", type=Path, help="folder of models; untrained ones are exported otherwise")
    parser.add_argument("--seconds", type=float, default=20.0, help="of each overload (20)")
    parser.add_argument("--peak-seconds", type=float, default=3.0, help="of each search for the peak (3)")
    parser.add_argument("--report", type=Path, default=_REPORT)
    arguments = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        results = [runner.run(_measure(network, arguments)) for network in NETWORKS]
    text = _render(results, arguments.seconds)
    arguments.report.write_text(text, encoding="utf-8")
    print(text)
    return 0


async def _measure(network: Network, arguments: argparse.Namespace) -> Result:
    repository = arguments.repository or CACHE / network.name / "repository"
    folder, _ = exported(repository, network.name, UNTRAINED)
    with tempfile.TemporaryDirectory() as scratch:
        photo = machine.write_photo(Path(scratch, "photo.jpg"))
        body = (photo if network.photograph else folder / "assets.extra" / "samples" / "7-0.png").read_bytes()
    slo = "--latency-slo-ms", f"{1000 * network.slo:g}"
    seconds = arguments.seconds
    with ServerProcess.service(repository, network.name, *slo) as server:
        _say(f"{network.name}: the peak")
        before, found = server.memory_mb(), [await _search_peak(server.url, body, network.slo, arguments.peak_seconds)]
        rate = max(found[0].values())
        client = ClosedLoop(server.url, body)
        loads = []
        for connections in _CLOSED:
            _say(f"{network.name}: {connections} connections that ask again at once")
            outcomes = await client.run(connections, seconds)
            loads.append(await _summarize(f"closed, {connections}", outcomes, network, seconds, server.url, body, rate))
        _say(f"{network.name}: {_TIMES:g} times {rate:.0f} requests/s")
        outcomes = await _run_open(server.url, body, _TIMES * rate, seconds)
        loads.append(await _summarize(f"open, {_TIMES:g} times", outcomes, network, seconds, server.url, body, rate))
        found.append(await _search_peak(server.url, body, network.slo, arguments.peak_seconds))
        after = server.memory_mb()
    # Twice, before and after: a machine that others use too is not equally fast all the time.
    peak = max(sum(one[connections] for one in found) / len(found) for connections in _PEAK_CONNECTIONS)
    return Result(network, peak, loads, after / before)


async def _search_peak(url: str, body: bytes, slo: float, seconds: float) -> dict[int, float]:
    """Connections -> answers within the SLO, a second, of a closed loop that is refused nothing."""
    client = ClosedLoop(url, body, [_PATIENT])
    found = {}
    for connections in _PEAK_CONNECTIONS:
        outcomes = await client.run(connections, seconds)
        found[connections] = sum(outcome.status == 200 and outcome.seconds <= slo for outcome in outcomes) / seconds
    return found


async def _run_open(url: str, body: bytes, rate: float, seconds: float) -> list[Outcome]:
    times = np.cumsum(np.random.default_rng(0).exponential(1 / rate, int(rate * seconds * 1.2) + 50))
    client = OpenLoop(url, body)
    outcomes = await client.run([float(start) for start in times[times < seconds]])
    await client.close()
    return outcomes


async def _summarize(
    name: str, outcomes: Sequence[Outcome], network: Network, seconds: float, url: str, body: bytes, peak: float
) -> Load:
    """With what follows at once: a load that the service can carry."""
    calm = await _run_open(url, body, _CALM * peak, _CALM_SECONDS)
    answered = [outcome.seconds for outcome in outcomes if outcome.status == 200]
    in_time = sum(taken <= network.slo for taken in answered)
    let_in = len(answered) + sum(outcome.status == 504 for outcome in outcomes)
    count = len(outcomes)
    return Load(
        name,
        asked=count / seconds,
        goodput=in_time / seconds,
        p99=float(np.percentile(answered, 99)) if answered else float("nan"),
        refused=sum(outcome.status == 429 for outcome in outcomes) / count,
        late=1 - in_time / max(1, let_in),
        failed=sum(outcome.status not in (200, 429, 504) for outcome in outcomes) / count,
        recovery=_find_recovery(calm, network.slo),
    )


def _find_recovery(outcomes: Sequence[Outcome], slo: float) -> float:
    """Seconds until a half second comes in which nearly all are answered in time."""
    for step in range(int(2 * _CALM_SECONDS)):
        window = [outcome for outcome in outcomes if step / 2 <= outcome.intended < (step + 1) / 2]
        good = sum(outcome.status == 200 and outcome.seconds <= slo for outcome in window)
        if window and good >= _RECOVERED * len(window):
            return step / 2
    return float("inf")


def _render(results: Sequence[Result], seconds: float) -> str:
    head = f"""# Overload

Written by `make overload`; do not edit.

- {machine.describe()}
- each load lasts {seconds:g} s, over HTTP; then comes half of the peak for {_CALM_SECONDS:g} s
- closed: so many connections, each of which asks again as soon as it has an answer, a refusal too
- open: Poisson arrivals at {_TIMES:g} times the peak; latency counts from the intended start, and so does the wait for
  one of {MOST_CONNECTIONS:,} connections where all are taken
- peak: the most answers/s within the SLO that {_listing(_PEAK_CONNECTIONS)} closed loops get which are refused nothing,
  the mean of before and after
- lenet5 gets a 28x28 PNG of 300 bytes, the others a 640x427 JPEG of {machine.photo_bytes() / 1000:.0f} kB
- the generator shares the cores
"""
    goals, loads = [], []
    for result in results:
        name, slo = result.network.name, result.network.slo
        for load in result.loads:
            share = load.goodput / result.peak
            met = share >= 0.85 and load.p99 <= slo and load.recovery <= 2 and result.memory <= 1.5
            goals.append(
                (
                    name,
                    load.name,
                    f"{share:.2f}",
                    f"{load.p99 / slo:.2f}",
                    f"{load.recovery:.1f}",
                    f"{result.memory:.2f}",
                    "met" if met else "not met",
                )
            )
            loads.append(
                (
                    name,
                    load.name,
                    f"{1000 * slo:.0f}",
                    f"{result.peak:.0f}",
                    f"{load.asked:.0f}",
                    f"{load.goodput:.0f}",
                    f"{1000 * load.p99:.0f}",
                    *(f"{part:.1%}" for part in (load.refused, load.late, load.failed)),
                )
            )
    wanted = ("", "wanted", "at least 0.85", "at most 1.00", "at most 2.0", "at most 1.50", "")
    goal_columns = (
        "network",
        "load",
        "goodput, of the peak",
        "p99 of the answered, of the SLO",
        "s until itself again",
        "memory, of before",
        "",
    )
    load_columns = (
        "network",
        "load",
        "SLO ms",
        "peak/s",
        "asked/s",
        "in time/s",
        "p99 ms",
        "refused (429)",
        "late or 504, of those let in",
        "failed",
    )
    goal_table = markdown(goal_columns, [wanted, *goals], text=(0, 1, 6))
    return f"{head}\n{goal_table}\n\n{markdown(load_columns, loads, text=(0, 1))}\n"


def _listing(numbers: Sequence[int]) -> str:
    return f"{', '.join(map(str, numbers[:-1]))} or {numbers[-1]}"


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
