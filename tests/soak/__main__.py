"""`python -m tests.soak`: a service with two workers, disturbed in every way for ten minutes, beside good requests.

No good request may fail, but for those on a connection that a killed worker cuts; and what the service holds (memory,
descriptors, threads, series of /metrics) has to stay flat. The table goes into docs/reliability.md with `--write`.
"""

import argparse
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx

from loadtest.target import machine
from tests.soak.disturbances import Disturbances, Files
from tests.soak.flatness import Trend, trend
from tests.support import procfs
from tests.support.exporter import ROOT, demo_model
from tests.support.neighbours import Account, Neighbours
from tests.support.service_process import Service, running

_PAGE = ROOT / "docs" / "reliability.md"
_BEGIN, _END = "<!-- soak -->\n", "<!-- /soak -->\n"
_WARM_UP = 0.2  # of the time, at most a minute
_SAMPLES = 100
_CUT_BY_A_DEATH = 10  # requests, at most: each of the four clients has one connection


@dataclass(frozen=True)
class Quantity:
    """Something that has to stay flat: it may grow by `share` of itself or by `floor`, whichever is more."""

    name: str
    measure: Callable[[], float]
    share: float
    floor: float


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="how long (default: 600)")
    parser.add_argument("--write", action="store_true", help=f"puts the table into {_PAGE.relative_to(ROOT)}")
    arguments = parser.parse_args()
    lenet5 = demo_model("lenet5", Path("build/models")) / "lenet5" / "1"
    image = (lenet5 / "assets.extra/samples/7-0.png").read_bytes()
    with tempfile.TemporaryDirectory() as folder:
        files = Files(Path(folder), lenet5)
        settings = ("--repository", files.models, "--routes", files.routes, "--api-keys", files.keys, "--workers", 2)
        with running(
            *settings, "--header-timeout-seconds", 2, "--body-timeout-seconds", 2, "--poll-interval-seconds", 0.5
        ) as service:
            service.wait_ready()
            survivor = procfs.children(service.process.pid)[0]
            disturbances = Disturbances(service, files, image, survivor)
            samples = _Samples(_quantities(service, survivor))
            with Neighbours(service.http_port, service.grpc_port, lenet5, files.secret) as neighbours, disturbances:
                samples.gather(service, arguments.seconds)
            problems = _judge(neighbours.account, disturbances, service)
            problems += samples.problems()
            text = _report(samples, neighbours.account, disturbances, arguments.seconds)
            Path("build").mkdir(exist_ok=True)
            Path("build/soak.log").write_text(service.log(), encoding="utf-8")
            if service.stop() != 0:
                problems.append("the service did not end well")
    text += "".join(f"\n**Not met:** {problem}.\n" for problem in problems)
    print(f"\n{text}")
    if arguments.write:
        before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
        _PAGE.write_text(before + _BEGIN + text + _END + rest.partition(_END)[2], encoding="utf-8")
        print(f"written to {_PAGE}")
    return 1 if problems else 0


def _quantities(service: Service, survivor: int) -> tuple[Quantity, ...]:
    """Of a worker that lives from start to end, beside one that is killed again and again, and of their parent."""
    parent = service.process.pid
    return (
        Quantity("memory of a worker, MB", lambda: procfs.resident_mb(survivor), 0.1, 10),
        Quantity("memory of the parent, MB", lambda: procfs.resident_mb(parent), 0.1, 5),
        Quantity("descriptors of a worker", lambda: procfs.descriptors(survivor), 0.1, 10),
        Quantity("descriptors of the parent", lambda: procfs.descriptors(parent), 0, 2),
        Quantity("threads of a worker", lambda: procfs.threads(survivor), 0, 1),
        Quantity("threads of the parent", lambda: procfs.threads(parent), 0, 1),
        Quantity("series on /metrics", lambda: _series(service), 0.02, 10),
    )


class _Samples:
    """Of every quantity over the time."""

    def __init__(self, quantities: tuple[Quantity, ...]) -> None:
        self._quantities = quantities
        self._times: list[float] = []
        self._values: dict[str, list[float]] = defaultdict(list)

    def gather(self, service: Service, seconds: float) -> None:
        """Prints as it goes. Ends early where the service does."""
        began, warm = time.monotonic(), min(60.0, _WARM_UP * seconds)
        pause = seconds / _SAMPLES
        while (now := time.monotonic() - began) < seconds and service.process.poll() is None:
            if now >= warm:
                self._times.append(now)
                for one in self._quantities:
                    self._values[one.name].append(one.measure())
                values = "  ".join(f"{values[-1]:.0f}" for values in self._values.values())
                print(f"{now:5.0f} s  {values}", flush=True)
            time.sleep(pause)

    def trends(self) -> list[tuple[Quantity, Trend, float]]:
        """With the highest value of each."""
        return [
            (one, trend(self._times, self._values[one.name]), max(self._values[one.name])) for one in self._quantities
        ]

    def problems(self) -> list[str]:
        return [
            f"{one.name} grew from {found.first:.1f} to {found.last:.1f}"
            for one, found, _ in self.trends()
            if not found.is_flat(one.share, one.floor)
        ]


def _judge(account: Account, disturbances: Disturbances, service: Service) -> list[str]:
    problems = list(disturbances.errors[:5])
    for what, found in (("were answered wrongly", account.wrong), ("failed", account.failed)):
        if found:
            problems.append(f"{len(found)} good requests {what}, such as {found[0]}")
    if len(account.cut) > _CUT_BY_A_DEATH * disturbances.counts["workers killed"]:
        problems.append(f"{len(account.cut)} good requests were cut, such as {account.cut[-1]}")
    if service.process.poll() is not None:
        problems.append(f"the service ended with {service.process.poll()}: {service.log()[-2000:]}")
    if "Traceback" in service.log():
        problems.append("there are tracebacks in the log, build/soak.log")
    return problems


def _report(samples: _Samples, account: Account, disturbances: Disturbances, seconds: float) -> str:
    done = ", ".join(f"{count:,} {what}" for what, count in sorted(disturbances.counts.items()))
    lines = [
        f"{seconds / 60:.1f} minutes, two workers. {machine.describe()}.\n",
        f"Meanwhile: {done}.\n",
        "| | after warm-up | at the end, by the slope | highest | may grow by |",
        "| :--- | ---: | ---: | ---: | ---: |",
    ]
    for one, found, highest in samples.trends():
        allowed = max(one.share * found.first, one.floor)
        lines.append(f"| {one.name} | {found.first:.0f} | {found.last:.0f} | {highest:.0f} | {allowed:.0f} |")
    lines += [
        "",
        f"Good requests: {account.answered:,} answered, every answer checked; {len(account.wrong)} wrong, "
        f"{len(account.failed)} failed, {len(account.cut)} cut with a killed worker's connection.\n",
        "| good requests | p50 ms | p99 ms |",
        "| :--- | ---: | ---: |",
    ]
    for client in account.seconds:
        lines.append(f"| {client} | {account.percentile(client, 50):.1f} | {account.percentile(client, 99):.1f} |")
    return "\n".join(lines) + "\n"


def _series(service: Service) -> float:
    page = ""
    for _ in range(3):
        with suppress(httpx.TransportError):  # cut with a killed worker
            page = httpx.get(f"{service.url}/metrics", timeout=10).text
            break
    return sum(1 for line in page.splitlines() if line and not line.startswith("#"))


if __name__ == "__main__":
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    sys.exit(main())
