"""How throughput grows with cores: `python -m benchmarks.scaling` measures on one and two, and writes docs/scaling.md.

A request costs a worker time of its event loop, which is one thread, and time on any core for decoding and the network.
A worker answers at most as often as its loop can, and the machine at most as often as its cores can.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

import psutil
from PIL import Image

from benchmarks import wrk
from benchmarks.networks import CACHE, UNTRAINED, exported
from loadtest.markdown import markdown
from loadtest.target import machine, processes
from loadtest.target.process import ServerProcess

PAGE = Path("docs/scaling.md")
RESULTS = Path("docs/reports/scaling.json")
NETWORKS = {"lenet5": 28, "mobilenet_v3_small": 0, "resnet50": 0}
"""Network -> pixels a side of the image that is sent, 0 for the photograph of 640x427."""
CORES = (1, 2, 4, 8, 16, 32, 64)
BUSY = 0.8
"""The share of its time that a loop may be busy: at more, requests wait long for it where they arrive at random."""
_CONNECTIONS = 32
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Arrangement:
    """The service on `cores`, in `workers`, under a closed loop: requests/s, and milliseconds of processor time that a
    request took of the event loops, of the whole service, and of the load generator, which shares two cores with it.
    `others` is the share of the machine that other processes took meanwhile.
    """

    cores: int
    workers: int
    rate: float
    loop_ms: float
    total_ms: float
    client_ms: float
    others: float


@dataclass(frozen=True)
class Costs:
    """Milliseconds of processor time of one request: of the loop, and of all."""

    loop: float
    total: float

    def predict(self, cores: int, workers: int, client_ms: float = 0.0) -> float:
        """Requests/s at most: each loop does 1000 / loop, and the cores, which a client may share, the rest."""
        return min(workers * 1000 / self.loop, cores * 1000 / (self.total + client_ms))

    @property
    def cores_of_worker(self) -> float:
        """That one worker can keep busy before its loop is busy for BUSY of the time."""
        return BUSY * self.total / self.loop

    def count_workers(self, cores: int) -> int:
        return min(cores, max(1, -(-cores * 1000 // round(1000 * self.cores_of_worker))))


@dataclass(frozen=True)
class Scaling:
    machine: str
    arrangements: Mapping[str, Sequence[Arrangement]]
    """By network: one worker on one core, one on two, two on two."""

    def write(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(asdict(self), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        found = json.loads(path.read_text(encoding="utf-8"))
        arrangements = {name: [Arrangement(**each) for each in kept] for name, kept in found["arrangements"].items()}
        return cls(found["machine"], arrangements)

    def find_costs(self, network: str) -> Costs:
        """The loop's from one worker on two cores, where decoding has threads of its own; all from one core."""
        one, two, _ = self.arrangements[network]
        return Costs(two.loop_ms, one.total_ms)


def measure(network: str, photo: Path, seconds: float, rounds: int) -> list[Arrangement]:
    repository = CACHE / network / "repository"
    exported(repository, network, UNTRAINED)
    return [_measure(network, repository, photo, cores, workers, seconds, rounds) for cores, workers in _ARRANGEMENTS]


_ARRANGEMENTS = ((1, 1), (2, 1), (2, 2))


def _measure(
    network: str, repository: Path, photo: Path, cores: int, workers: int, seconds: float, rounds: int
) -> Arrangement:
    allowed = sorted(os.sched_getaffinity(0))[:cores]
    command = ["taskset", "-c", ",".join(map(str, allowed)), sys.executable, "-m", "service", "--host", "127.0.0.1"]
    command += ["--repository", str(repository), "--http-port", "0", "--grpc-port", "0", "--drain-seconds", "0"]
    command += ["--workers", str(workers)]
    with ServerProcess(command, r"HTTP on port (\d+)", "/readyz", f"/predict/{network}") as server:
        print(f"{network}: {cores} cores, {workers} workers ...", flush=True)
        wrk.measure(server.url, photo, _CONNECTIONS, _WARM_UP_SECONDS)
        loads = [_load(server, photo, seconds) for _ in range(rounds)]
    return Arrangement(cores, workers, *min(loads, key=lambda load: load[-1]))


def _load(server: ServerProcess, photo: Path, seconds: float) -> tuple[float, ...]:
    """The last five values of an `Arrangement`."""
    before = _read_times(server.pid)
    measured = wrk.measure(server.url, photo, _CONNECTIONS, seconds)
    loop, total, client, machine_wide = (now - then for now, then in zip(_read_times(server.pid), before, strict=True))
    others = max(0.0, machine_wide - total - client) / measured.seconds / len(os.sched_getaffinity(0))
    milliseconds = (1000 * each / measured.requests for each in (loop, total, client))
    return measured.requests / measured.seconds, *milliseconds, others


def _read_times(pid: int) -> tuple[float, float, float, float]:
    """Seconds of processor time so far: of the main threads, which are the event loops; of all threads of the service;
    of the load generators that have ended; of the whole machine.
    """
    process = psutil.Process(pid)
    workers = process.children() or [process]
    loops = sum(
        thread.user_time + thread.system_time
        for worker in workers
        for thread in worker.threads()
        if thread.id == worker.pid
    )
    clients, everything = os.times(), psutil.cpu_times()
    busy = sum(everything) - everything.idle - everything.iowait - everything.guest - everything.guest_nice
    return loops, processes.cpu_seconds(pid), clients.children_user + clients.children_system, busy


def render(found: Scaling) -> str:
    return "\n".join(_render(found)) + "\n"


def _render(found: Scaling) -> Iterator[str]:
    yield from (
        "# Scaling",
        "",
        "Written by `python -m benchmarks.scaling`; do not edit.",
        "",
        "How throughput grows with cores, and when a service needs a second worker.",
        "",
        "## The model",
        "",
        "A request takes processor time of three kinds: the event loop's (HTTP, routing, batching, the answer),",
        "decoding's and the network's. Decoding and the network run on threads, as many as the worker has cores. The",
        "loop is one thread of each worker. So for `n` cores and `w` workers",
        "",
        "    requests/s = min(w / loop, n / total)",
        "",
        f"and one worker keeps `total / loop` cores busy at most. With {BUSY:.0%} of that, requests wait little for",
        "the loop; the tables count workers so.",
        "",
        "## Measured on one core and two",
        "",
        f"{found.machine}. {_CONNECTIONS} connections by wrk, in a closed loop. `loop` and `total` are milliseconds of",
        "processor time a request. The model takes `loop` from one worker on two cores and `total` from one core. wrk",
        "shares two cores with the service, and the model counts its time. `others` is what other processes took of",
        "the machine meanwhile; of several loads, the one with the least of that is here.",
        "",
        markdown(
            (
                "network",
                "cores",
                "workers",
                "loop ms",
                "total ms",
                "requests/s",
                "the model",
                "measured / model",
                "others",
            ),
            [
                _row(name, one, found.find_costs(name))
                for name, arrangements in found.arrangements.items()
                for one in arrangements
            ],
        ),
        "",
        "On one core the loop decodes too. One worker on two cores stays below the model for two reasons. Its threads",
        "share Python's lock: most of the time that a core is idle, a thread waits for it (mobilenet_v3_small, perf's",
        "events sched_switch and sys_enter_futex), and more threads that decode change nothing. And a large network",
        "that runs on both cores waits for the slower one after each layer: resnet50 does more in two lanes of one",
        "thread. Two workers have neither.",
        "",
        "## For more cores",
        "",
        "By the model, with the clients elsewhere. It leaves out that cores share memory bandwidth and caches, and",
        "that two hardware threads of a core are not two cores, and Python's lock: take these as limits, and measure.",
        f"`workers` are as few as keep each loop below {BUSY:.0%}; more of them pass the lock on less often.",
        "",
    )
    for name in found.arrangements:
        costs, (_, one, two) = found.find_costs(name), found.arrangements[name]
        yield from (
            f"### {name}",
            "",
            f"The loop takes {costs.loop:.2f} ms, all of a request on one core {costs.total:.2f} ms: the loop of one",
            f"worker is enough for {costs.cores_of_worker:.1f} cores. On two cores, two workers did",
            f"{two.rate / one.rate:.2f} times what one did.",
            "",
            markdown(
                ("cores", "requests/s with one worker", "workers", "requests/s with them"),
                [
                    (
                        str(cores),
                        f"{costs.predict(cores, 1):,.0f}",
                        str(workers := costs.count_workers(cores)),
                        f"{costs.predict(cores, workers):,.0f}",
                    )
                    for cores in CORES
                ],
                text=(),
            ),
            "",
        )


def _row(name: str, one: Arrangement, costs: Costs) -> tuple[str, ...]:
    predicted = costs.predict(one.cores, one.workers, one.client_ms if one.cores > 1 else 0.0)
    return (
        name,
        str(one.cores),
        str(one.workers),
        f"{one.loop_ms:.2f}",
        f"{one.total_ms:.2f}",
        f"{one.rate:.0f}",
        f"{predicted:.0f}",
        f"{one.rate / predicted:.2f}",
        f"{one.others:.0%}",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--networks", default=",".join(NETWORKS), metavar="NAME,...", help="which (default: %(default)s)"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, help="loads of each arrangement (default: 2)")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None or len(os.sched_getaffinity(0)) < 2:
        print("scaling: expected the load generator wrk (apt-get install wrk) and two cores", file=sys.stderr)
        return 1
    kept = dict(Scaling.read(RESULTS).arrangements) if RESULTS.is_file() else {}
    with tempfile.TemporaryDirectory() as folder:
        photo = machine.write_photo(Path(folder, "photo.jpg"))
        for network in arguments.networks.split(","):
            sent = photo
            if side := NETWORKS.get(network, 0):
                sent = Path(folder, f"{network}.png")
                with Image.open(photo) as picture:
                    picture.resize((side, side)).save(sent)
            kept[network] = measure(network, sent, arguments.seconds, arguments.rounds)
    found = Scaling(machine.describe(), kept)
    found.write(RESULTS)
    PAGE.write_text(render(found), encoding="utf-8")
    print(f"written to {RESULTS} and {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
