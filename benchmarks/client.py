"""`python -m benchmarks.client`: what the Python client adds to httpx, what of a request's CPU is httpx's own, how fast
it sends many images, what `shrink` saves, and how much memory a folder of 1,000 and of 10,000 files takes.

What is compared takes turns, so that a machine whose speed drifts treats all alike. Client, wrk and service share the
machine. The network is EfficientNet-Lite0 with its ImageNet weights; --repository takes an exported one.
"""

import argparse
import asyncio
import http.client
import io
import os
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from statistics import median

import httpx
from PIL import Image

from benchmarks import wrk
from benchmarks.networks import CACHE, exported
from image_model_client import AsyncClient, Client, Outcome, images
from loadtest.markdown import markdown
from loadtest.target import machine
from loadtest.target.process import ServerProcess

PAGE = Path("docs/clients.md")
NETWORK, SMALL = "efficientnet_lite0", "lenet5"
_WARM_UP = 20
_IN_FLIGHT = 16
_WRK_SECONDS = 3.0
_LARGE = {"12 megapixels": (4000, 3000), "2 megapixels": (1600, 1200)}
_FILES = (1_000, 10_000)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.client", description=__doc__.partition("\n\n")[0])
    parser.add_argument("--repository", type=Path, default=CACHE / "client", help="(default: %(default)s)")
    parser.add_argument("--calls", type=int, default=300, help="of each kind, in turns (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=1000, help="sent 16 at a time (default: %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="in which they are sent (default: %(default)s)")
    parser.add_argument("--only", choices=("calls", "costs", "many", "shrink", "memory"), help="one table")
    parser.add_argument("--write", action="store_true", help=f"write what is measured into {PAGE}")
    given = parser.parse_args()
    if given.only != "costs":
        exported(given.repository, NETWORK, ("--weights", "imagenet"))
        exported(given.repository, SMALL, ())
    tables: dict[str, Callable[[], str]] = {
        "calls": lambda: show_calls(given.repository, given.calls),
        "costs": lambda: show_costs(given.photos),
        "many": lambda: show_many(given.repository, given.photos, given.rounds),
        "shrink": lambda: show_shrink(given.repository, given.calls // 10),
        "memory": lambda: show_memory(given.repository),
    }
    for name, show in tables.items():
        if given.only in (None, name):
            table = show()
            print(table, end="\n\n", flush=True)
            if given.write:
                PAGE.write_text(replace_part(PAGE.read_text(), name, table))


def replace_part(page: str, name: str, table: str) -> str:
    """The page with `table` between its markers."""
    start, end = f"<!-- {name}: written by benchmarks.client -->\n", "<!-- end -->"
    before, found, after = page.partition(start)
    if not found:
        raise ValueError(f"{PAGE} has no part named {name!r}")
    return f"{before}{start}\n{table}\n\n{after[after.index(end) :]}"


def show_calls(repository: Path, calls: int) -> str:
    """One call at a time, over one connection, with the same bytes and headers."""
    rows = []
    for model, image, kind in ((NETWORK, write_photo(), "image/jpeg"), (SMALL, write_digit(), "image/png")):
        with ServerProcess.service(repository, model) as server:
            taken = take_turns(make_calls(server.base, model, image, kind), calls)
        ours, theirs = (1000 * median(taken[name]) for name in ("client", "httpx"))
        rows.append(
            (model, f"{theirs:.2f}", f"{ours:.2f}", f"{1000 * (ours - theirs):.0f}", f"{ours / theirs - 1:.1%}")
        )
    return markdown(("model", "httpx, ms", "client, ms", "added, us", "added"), rows)


def make_calls(url: str, model: str, image: bytes, kind: str) -> dict[str, Callable[[], object]]:
    raw, client = httpx.Client(base_url=url), Client(url)

    def post() -> object:
        headers = {"Content-Type": kind}
        reply = raw.post(f"/predict/{model}", params={"top_k": "5"}, content=image, headers=headers)
        return reply.raise_for_status().json()

    return {"httpx": post, "client": lambda: client.predict(model, image)}


def show_costs(requests: int) -> str:
    """CPU of the sender's process, of photographs to a service that computes nothing: how busy the machine is, and how
    fast the service, does not count.
    """
    photo, headers = write_photo(), {"Content-Type": "image/jpeg"}
    rows = []
    with ServerProcess.service(Path(), "fake", "--backend", "fake") as server:
        path = "/predict/fake?top_k=5"
        plain, transport = http.client.HTTPConnection(server.base.removeprefix("http://")), httpx.HTTPTransport()
        request = httpx.Request("POST", f"{server.base}{path}", headers=headers, content=photo)

        def ask_plainly() -> object:
            plain.request("POST", path, photo, headers)
            return plain.getresponse().read()

        with (
            httpx.Client(base_url=server.base) as raw,
            Client(server.base, connections=_IN_FLIGHT) as client,
            asyncio.Runner() as loop,
        ):
            raw_twin, twin = httpx.AsyncClient(base_url=server.base), AsyncClient(server.base, connections=_IN_FLIGHT)
            senders: dict[tuple[str, int], Callable[[], object]] = {
                ("http.client", 1): partial(repeat, ask_plainly, requests),
                ("httpx' transport alone", 1): partial(
                    repeat, lambda: transport.handle_request(request).read(), requests
                ),
                ("httpx.Client", 1): partial(
                    repeat, lambda: raw.post(path, content=photo, headers=headers).json(), requests
                ),
                ("Client", 1): partial(repeat, lambda: client.predict("fake", photo), requests),
                ("httpx.Client in threads", _IN_FLIGHT): lambda: send_by_httpx(raw, path, photo, requests),
                ("Client", _IN_FLIGHT): lambda: check(client.predict_many("fake", [photo] * requests)),
                ("httpx.AsyncClient", _IN_FLIGHT): lambda: loop.run(
                    send_by_httpx_loop(raw_twin, path, photo, requests)
                ),
                ("AsyncClient", _IN_FLIGHT): lambda: loop.run(send_to(twin, "fake", [photo] * requests)),
            }
            for (name, in_flight), send in senders.items():
                send()
                began = time.process_time()
                send()
                rows.append((name, str(in_flight), f"{1e6 * (time.process_time() - began) / requests:.0f}"))
            loop.run(raw_twin.aclose())
            loop.run(twin.close())
    return markdown(("sender", "in flight", "CPU a request, us"), rows)


def repeat(call: Callable[[], object], count: int) -> None:
    for _ in range(count):
        call()


def send_by_httpx(client: httpx.Client, path: str, photo: bytes, requests: int) -> None:
    def post(_: int) -> object:
        return client.post(path, content=photo, headers={"Content-Type": "image/jpeg"}).raise_for_status().json()

    with ThreadPoolExecutor(_IN_FLIGHT) as pool:
        deque(pool.map(post, range(requests)), maxlen=0)


async def send_by_httpx_loop(client: httpx.AsyncClient, path: str, photo: bytes, requests: int) -> None:
    async def post() -> None:
        for _ in range(requests // _IN_FLIGHT):
            reply = await client.post(path, content=photo, headers={"Content-Type": "image/jpeg"})
            reply.raise_for_status().json()

    await asyncio.gather(*(post() for _ in range(_IN_FLIGHT)))


def show_many(repository: Path, photos: int, rounds: int) -> str:
    """Images a second with `_IN_FLIGHT` concurrent requests. Each round sends all `photos`: the end of a short round,
    with fewer concurrent requests, would lower the rate.
    """
    rows = []
    for model, image in ((NETWORK, write_photo()), (SMALL, write_digit())):
        with tempfile.TemporaryDirectory() as folder, ServerProcess.service(repository, model) as server:
            file = Path(folder, "image")
            file.write_bytes(image)
            warm_up(server, image)
            rates: dict[str, list[float]] = {}
            for _ in range(rounds):
                load = wrk.measure(server.url, file, _IN_FLIGHT, _WRK_SECONDS)
                rates.setdefault("wrk", []).append(load.requests / load.seconds)
                for name, send in {"Client": send_by_threads, "AsyncClient": send_by_loop}.items():
                    began = time.perf_counter()
                    send(server.base, model, [file] * photos)
                    rates.setdefault(name, []).append(photos / (time.perf_counter() - began))
        base = median(rates["wrk"])
        rows += [(model, name, f"{median(each):.0f}", f"{median(each) / base:.0%}") for name, each in rates.items()]
    return markdown(("model", "sender", "images/s", "of wrk's"), rows, text=(0, 1))


def send_by_threads(url: str, model: str, paths: list[Path]) -> None:
    with Client(url, connections=_IN_FLIGHT) as client:
        check(client.predict_many(model, paths))


def check(outcomes: Iterable[Outcome]) -> None:
    """Raises the first error."""
    for outcome in outcomes:
        if outcome.error:
            raise outcome.error


def send_by_loop(url: str, model: str, paths: list[Path]) -> None:
    async def send() -> None:
        async with AsyncClient(url, connections=_IN_FLIGHT) as client:
            await send_to(client, model, paths)

    asyncio.run(send())


async def send_to(client: AsyncClient, model: str, sources: Sequence[Path | bytes]) -> None:
    async for outcome in client.predict_many(model, sources):
        if outcome.error:
            raise outcome.error


def show_shrink(repository: Path, calls: int) -> str:
    """Photographs sent whole and made smaller: on the loopback, and what their bytes take besides at 20 Mbit/s."""
    rows = []
    with ServerProcess.service(repository, NETWORK) as server, Client(server.base) as client:
        for name, size in _LARGE.items():
            image = resize(write_photo(), size)
            small = len(images.shrink(image, 224, 224))
            whole = partial(client.predict, NETWORK, image)
            taken = take_turns({"whole": whole, "shrunk": partial(whole, shrink=True)}, calls)
            whole_ms, small_ms = (1000 * median(taken[each]) for each in ("whole", "shrunk"))
            same = whole().label == whole(shrink=True).label
            wires = (f"{count * 8 / 20e3:.0f}" for count in (len(image), small))
            answers = "same" if same else "another"
            rows.append((name, f"{len(image):,}", f"{small:,}", f"{whole_ms:.1f}", f"{small_ms:.1f}", *wires, answers))
    head = ("image", "bytes", "shrunk", "ms", "shrunk, ms", "wire at 20 Mbit/s, ms", "shrunk, ms", "label")
    return markdown(head, rows, text=(0, 7))


def show_memory(repository: Path) -> str:
    """The command's largest resident set, for folders of links to one digit."""
    rows = []
    with ServerProcess.service(repository, SMALL) as server:
        for count in _FILES:
            with tempfile.TemporaryDirectory() as folder:
                digit = Path(folder, "digit.png")
                digit.write_bytes(write_digit())
                names = Path(folder, "files")
                names.mkdir()
                for number in range(count):
                    (names / f"photograph-{number:06}.png").symlink_to(digit)
                began = time.perf_counter()
                peak = run_command(server.base, names, Path(folder, "answers.csv"))
                rows.append((f"{count:,}", f"{peak / 1e6:.1f}", f"{count / (time.perf_counter() - began):.0f}"))
    growth = (float(rows[1][1]) - float(rows[0][1])) / (_FILES[1] - _FILES[0])
    rows.append(("100,000, extrapolated", f"{float(rows[0][1]) + growth * (100_000 - _FILES[0]):.1f}", ""))
    return markdown(("files", "RSS at most, MB", "files/s"), rows)


def run_command(url: str, folder: Path, output: Path) -> int:
    """Bytes. Raises RuntimeError where it does not answer every file."""
    command = [sys.executable, "-m", "image_model_client", "predict", SMALL, str(folder), "--output", str(output)]
    process = subprocess.Popen([*command, "--url", url], stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return 1024 * usage.ru_maxrss


def warm_up(server: ServerProcess, image: bytes) -> None:
    for _ in range(_WARM_UP):
        httpx.post(server.url, content=image, headers={"Content-Type": "image/jpeg"}).raise_for_status()


def take_turns(calls: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each call, by name."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(-_WARM_UP, rounds):
        for name, call in calls.items():
            began = time.perf_counter()
            call()
            if turn >= 0:
                taken[name].append(time.perf_counter() - began)
    return taken


def write_photo() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        return machine.write_photo(Path(folder, "photo.jpg")).read_bytes()


def write_digit() -> bytes:
    file = io.BytesIO()
    Image.linear_gradient("L").resize((28, 28)).save(file, "PNG")
    return file.getvalue()


def resize(photo: bytes, size: tuple[int, int]) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(photo)).resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
    return file.getvalue()


if __name__ == "__main__":
    main()
