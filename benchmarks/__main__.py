"""`make bench`: every network beside what people serve without this project, and the service beside a plain one.

Everything runs in one sitting and takes turns, so that a machine whose speed drifts treats all alike:
trust the ratios more than the numbers. Latencies at concurrency N come from N clients that each send
their next request when the last was answered (closed loop).
"""

import argparse
import shutil
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import decoding, engines, page, peak, wrk
from benchmarks import model_formats as forms
from benchmarks import stock_model as stock
from benchmarks.measurement import Measurement, Served
from benchmarks.networks import CACHE, NETWORKS, UNTRAINED, exported
from benchmarks.results import Bench, Comparison
from benchmarks.rivals import speeds
from benchmarks.rivals.speeds import Speeds
from loadtest.target import machine
from loadtest.target.process import ServerProcess
from service.host.cpu import cores

CONCURRENCIES = (1, 8, 32)
SERVED = {"mobilenet_v3_small": cores(), "resnet50": 1}
"""Network -> workers of the service: one a core where Python's share of a request counts, as docs/operating.md says."""

_FORM_SECONDS = 0.5
_WARM_UP_SECONDS = 2.0


@dataclass(frozen=True)
class Network:
    """The files of one network: stock, in float32, and what `--quantize` published."""

    name: str
    repository: Path
    version: Path
    stock: Path
    float32: Path
    int8_size: float
    """Bytes of its int8 form over those of float32."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=4.0, help="length of each load (default: 4)")
    parser.add_argument("--rounds", type=int, default=3, help="turns each measurement takes (default: 3)")
    parser.add_argument(
        "--networks", default=",".join(NETWORKS), metavar="NAME,...", help="which to measure (default: twelve)"
    )
    parser.add_argument("--results", type=Path, default=page.BENCH, help=f"what is found (default: {page.BENCH})")
    parser.add_argument("--output", type=Path, default=page.PAGE, help=f"the page of it (default: {page.PAGE})")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("bench: the load generator wrk is missing; apt-get install wrk", file=sys.stderr)
        return 1
    networks = [_network(name) for name in arguments.networks.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        photo = machine.write_photo(Path(folder, "photo.jpg"))
        comparisons = [
            _compare(network, photo, arguments.seconds, arguments.rounds)
            for network in networks
            if network.name in SERVED
        ]
        decoded = decoding.measure(photo.read_bytes())
    rivals = {
        network.name: speeds.measure(
            [page.RIVAL],
            Speeds(
                network.name,
                seconds=arguments.seconds,
                rounds=arguments.rounds,
                workers=SERVED[network.name],
                engine="auto",
            ),
        )
        for network in networks
        if network.name in SERVED
    }
    costs = {}
    for network in networks:
        print(f"{network.name} in every form ...", flush=True)
        costs[network.name] = forms.measure(
            network.name, network.stock, network.float32, network.version, _FORM_SECONDS, arguments.rounds
        )
    sizes = {
        network.name: (network.version / "model.tflite").stat().st_size / network.float32.stat().st_size
        for network in networks
    }
    int8_size = max(network.int8_size for network in networks)
    found = Bench(
        machine=machine.describe(),
        photo_bytes=machine.photo_bytes(),
        seconds=arguments.seconds,
        rounds=arguments.rounds,
        costs=costs,
        sizes=sizes,
        int8_size=int8_size,
        comparisons=comparisons,
        decoded=decoded,
        rivals=rivals,
    )
    found.write(arguments.results)
    names = [network.name for network in networks]
    peak.measure([*names, *(each for each in peak.NAMES if each not in NETWORKS)], _FORM_SECONDS).write(
        arguments.results.parent / peak.RESULTS.name
    )
    print("\n" + page.write(arguments.results, arguments.output))
    print(f"written to {arguments.results} and {arguments.output}")
    return 0


def _network(name: str) -> Network:
    """From the cache; what is missing is made, which takes a minute or two a network."""
    folder = CACHE / name
    version, manifest = exported(folder / "repository", name, UNTRAINED)
    sizes = {each["name"]: each["bytes"] for each in manifest.facts["quantization"]["candidates"]}
    float32 = folder / "float32.tflite"
    if not float32.is_file():
        from export.convert import litert
        from export.quiet import import_tensorflow

        import_tensorflow()
        litert.convert(version, float32)
    model = stock.exported(folder / "stock", name)
    return Network(name, folder / "repository", version, model, float32, sizes["int8"] / sizes["float32"])


def _compare(network: Network, photo: Path, seconds: float, rounds: int) -> Comparison:
    with ExitStack() as running:
        print(f"{network.name}: starting both servers ...", flush=True)
        plain = running.enter_context(ServerProcess.plain(network.stock))
        ours = running.enter_context(
            ServerProcess.service(network.repository, network.name, "--workers", str(SERVED[network.name]))
        )
        taken: dict[tuple[str, int], list[Measurement]] = {}
        inside: list[Measurement] = []
        for server in (plain, ours):
            wrk.measure(server.url, photo, max(CONCURRENCIES), _WARM_UP_SECONDS)
            server.settle()
        for turn in range(rounds):
            for concurrency in CONCURRENCIES:
                for server in (plain, ours):
                    print(f"round {turn + 1}/{rounds}: {server.url}, concurrency {concurrency} ...", flush=True)
                    measured = wrk.measure(server.url, photo, concurrency, seconds)
                    taken.setdefault((server.url, concurrency), []).append(measured)
                    server.settle()
            print(f"round {turn + 1}/{rounds}: decoding and model in process ...", flush=True)
            inside.append(engines.measure(engines.LITERT, network.version, photo, cores(), seconds))
        return Comparison(
            network.name,
            plain={c: Served.take_medians(taken[plain.url, c]) for c in CONCURRENCIES},
            ours={c: Served.take_medians(taken[ours.url, c]) for c in CONCURRENCIES},
            in_process=median(one.requests / one.seconds for one in inside),
            plain_mb=plain.memory_mb(),
            ours_mb=ours.memory_mb(),
            ready_seconds=ours.ready_seconds,
            workers=SERVED[network.name],
        )


if __name__ == "__main__":
    sys.exit(main())
