"""mosec beside this service with the same file, decoder and filter: `python -m benchmarks.mosec`.

mosec runs in an environment of its own, with a web layer in Rust and a worker process a core. What is found is kept by
network in docs/reports/mosec.json, of which docs/benchmarks.md is made.
"""

import argparse
import json
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from importlib.metadata import version as read_version
from pathlib import Path
from statistics import median
from typing import Any, Self

from benchmarks import wrk
from benchmarks.measurement import Served
from benchmarks.networks import CACHE, SERVED, UNTRAINED, exported
from loadtest.target import machine, processes
from loadtest.target.process import ServerProcess

RESULTS = Path("docs/reports/mosec.json")
ENVIRONMENT = Path("build/rivals/mosec")
CONCURRENCIES = (1, 8, 32)
_VERSION = "0.9.8"
_COMPUTES = ("ai-edge-litert", "cykooz.resizer", "numpy", "pillow", "simplejpeg")
"""What `benchmarks.rivals.classifier` imports: of that environment as of this one."""
_WARM_UP_SECONDS = 1.0


@dataclass(frozen=True)
class Rivalry:
    """Both servers of one network, by concurrency: medians over the rounds. `ratios` are this service's requests/s over
    mosec's, medians of those of each round; `cpu_ms` is the processor time of a request, this service's and mosec's.
    Memory in MB after the load.
    """

    machine: str
    seconds: float
    rounds: int
    workers: int
    ours: Mapping[int, Served]
    mosec: Mapping[int, Served]
    ratios: Mapping[int, float]
    cpu_ms: Mapping[int, tuple[float, float]]
    ours_mb: float
    mosec_mb: float

    @classmethod
    def parse(cls, found: Mapping[str, Any]) -> Self:
        served = {
            name: {int(count): Served(**each) for count, each in found[name].items()} for name in ("ours", "mosec")
        }
        ratios = {int(count): each for count, each in found["ratios"].items()}
        cpu_ms = {int(count): (ours, theirs) for count, (ours, theirs) in found["cpu_ms"].items()}
        return cls(**{**found, **served, "ratios": ratios, "cpu_ms": cpu_ms})


def read(path: Path) -> dict[str, Rivalry]:
    """Network -> what was found; none where there is no file. Raises ValueError where it is not one of ours."""
    try:
        return {name: Rivalry.parse(each) for name, each in json.loads(path.read_text(encoding="utf-8")).items()}
    except FileNotFoundError:
        return {}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no result of `python -m benchmarks.mosec`: {error!r}") from error


def write(path: Path, found: Mapping[str, Rivalry]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({name: asdict(each) for name, each in found.items()}, indent=1) + "\n")


def start(version: Path) -> ServerProcess:
    """A server of the exported version in the folder `version`; mosec is installed where it is missing. Raises
    CalledProcessError where that fails.
    """
    python = ENVIRONMENT / "bin" / "python"
    if not (ENVIRONMENT / "installed").is_file():
        subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
        needed = [f"mosec=={_VERSION}", *(f"{name}=={read_version(name)}" for name in _COMPUTES)]
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *needed]
        subprocess.run(install, check=True)
        (ENVIRONMENT / "installed").touch()
    with socket.create_server(("127.0.0.1", 0)) as free:  # mosec announces the port that it was given
        port = free.getsockname()[1]
    module = "benchmarks.rivals.mosec_server"
    command = [str(python), "-m", module, "--address", "127.0.0.1", "--port", str(port), "--timeout", "60000"]
    environment = {"MODEL": str(version.absolute()), "PYTHONPATH": str(Path.cwd())}
    return ServerProcess(command, r'"addr":"127\.0\.0\.1:(\d+)"', "/", "/inference", environment)


def compare(network: str, photo: Path, workers: int, seconds: float, rounds: int) -> Rivalry:
    """Loads both servers in turns. `workers` are this service's."""
    repository = CACHE / network / "repository"
    version, _ = exported(repository, network, UNTRAINED)
    with ExitStack() as running:
        mosec = running.enter_context(start(version))
        ours = running.enter_context(ServerProcess.service(repository, network, "--workers", str(workers)))
        taken: dict[tuple[ServerProcess, int], list[Served]] = {}
        cpu: dict[tuple[ServerProcess, int], list[float]] = {}
        for server in (mosec, ours):
            wrk.measure(server.url, photo, max(CONCURRENCIES), _WARM_UP_SECONDS)
            server.settle()
        for turn in range(rounds):
            for concurrency in CONCURRENCIES:
                print(f"{network}, round {turn + 1}/{rounds}: both servers, concurrency {concurrency} ...", flush=True)
                for server in (mosec, ours):
                    before = processes.cpu_seconds(server.pid)
                    one = wrk.measure(server.url, photo, concurrency, seconds)
                    spent = 1000 * (processes.cpu_seconds(server.pid) - before) / one.requests
                    cpu.setdefault((server, concurrency), []).append(spent)
                    served = Served(one.requests / one.seconds, one.p50_ms, one.p99_ms)
                    taken.setdefault((server, concurrency), []).append(served)
        return Rivalry(
            machine.describe(),
            seconds,
            rounds,
            workers,
            {count: _take_medians(taken[ours, count]) for count in CONCURRENCIES},
            {count: _take_medians(taken[mosec, count]) for count in CONCURRENCIES},
            {
                count: median(
                    mine.requests_per_second / theirs.requests_per_second
                    for mine, theirs in zip(taken[ours, count], taken[mosec, count], strict=True)
                )
                for count in CONCURRENCIES
            },
            {count: (median(cpu[ours, count]), median(cpu[mosec, count])) for count in CONCURRENCIES},
            ours.memory_mb(),
            mosec.memory_mb(),
        )


def _take_medians(served: list[Served]) -> Served:
    return Served(
        median(one.requests_per_second for one in served),
        median(one.p50_ms for one in served),
        median(one.p99_ms for one in served),
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.mosec", description=__doc__.partition("\n")[0])
    parser.add_argument("--networks", default=",".join(SERVED), metavar="NAME,...", help="which (default: %(default)s)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of each load (default: 2)")
    parser.add_argument("--rounds", type=int, default=2, help="turns each measurement takes (default: 2)")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("mosec: the load generator wrk is missing; apt-get install wrk", file=sys.stderr)
        return 1
    found = read(RESULTS)
    with tempfile.TemporaryDirectory() as folder:
        photo = machine.write_photo(Path(folder, "photo.jpg"))
        for network in arguments.networks.split(","):
            found[network] = compare(network, photo, SERVED[network], arguments.seconds, arguments.rounds)
            write(RESULTS, found)
            ratios = ", ".join(f"{ratio:.2f} with {count}" for count, ratio in found[network].ratios.items())
            print(f"{network}: this service's requests/s over mosec's: {ratios} connections")
    return 0


if __name__ == "__main__":
    sys.exit(main())
