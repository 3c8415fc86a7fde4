"""`python -m benchmarks.features`: what /embed and features beside predictions cost, over /predict.

One client sends one photograph over one connection, each kind of request in turn, so that a machine whose speed drifts
treats all alike. The network is EfficientNet-Lite0 with its ImageNet weights; --repository takes an exported one.
"""

import argparse
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

import httpx

from benchmarks.networks import CACHE, exported
from loadtest.markdown import markdown
from loadtest.target import machine
from loadtest.target.process import ServerProcess

NETWORK = "efficientnet_lite0"
PLAIN = "/predict"

_RAW = {"accept": "application/octet-stream"}
_REQUESTS: dict[str, tuple[str, Mapping[str, str]]] = {
    PLAIN: ("/predict/{}", {}),
    "/embed, JSON": ("/embed/{}", {}),
    "/embed, raw float32": ("/embed/{}", _RAW),
    "/predict?features=true": ("/predict/{}?features=true", {}),
}
_WANTED = {"/embed, JSON": 1.05, "/embed, raw float32": 1.05, "/predict?features=true": 1.10}
_WARM_UP = 20


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.features", description=__doc__.partition("\n")[0])
    parser.add_argument("--repository", type=Path, default=CACHE / "features", help="(default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=300, help="requests of each kind (default: 300)")
    arguments = parser.parse_args()
    exported(arguments.repository, NETWORK, ("--weights", "imagenet"))
    with tempfile.TemporaryDirectory() as folder:
        photo = machine.write_photo(Path(folder, "photo.jpg")).read_bytes()
    with ServerProcess.service(arguments.repository, NETWORK) as server, httpx.Client(base_url=server.base) as client:
        taken = measure(client, photo, arguments.rounds)
    milliseconds = {kind: 1000 * median(times) for kind, times in taken.items()}
    rows = [
        (
            kind,
            f"{milliseconds[kind]:.2f}",
            f"{ratio:.3f}",
            f"at most {wanted:.2f}" if (wanted := _WANTED.get(kind)) else "",
        )
        for kind, ratio in ((kind, each / milliseconds[PLAIN]) for kind, each in milliseconds.items())
    ]
    print(markdown(("request", "median ms", "over /predict", "wanted"), rows, text=(0, 3)))


def measure(client: httpx.Client, photo: bytes, rounds: int) -> dict[str, list[float]]:
    """Seconds of each request, by kind."""
    taken: dict[str, list[float]] = {kind: [] for kind in _REQUESTS}
    for turn in range(-_WARM_UP, rounds):
        for kind, (path, headers) in _REQUESTS.items():
            began = time.perf_counter()
            reply = client.post(path.format(NETWORK), content=photo, headers={"content-type": "image/jpeg", **headers})
            seconds = time.perf_counter() - began
            reply.raise_for_status()
            if turn >= 0:
                taken[kind].append(seconds)
    return taken


if __name__ == "__main__":
    main()
