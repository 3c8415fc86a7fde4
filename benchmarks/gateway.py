"""`make bench-gateway`: what the gateway adds to a call, with next to no work and with real work.

Client, gateway and upstream share the machine's cores. What is compared takes turns in rounds, so that a machine whose
speed drifts treats all alike: trust the ratios more than the numbers.
"""

import argparse
import asyncio
import itertools
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import grpc.aio
import psutil
import uvloop

from benchmarks import half_plus_two
from benchmarks.loops import ClosedLoop
from benchmarks.networks import CACHE, UNTRAINED, exported
from loadtest.markdown import markdown
from loadtest.target import machine
from service.host.cpu import cores
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc

REPORT = Path("docs/gateway.md")
MOST_TIMES_P50, LEAST_THROUGHPUT = 2.3, 0.55  # of half-plus-two, at 1 client, at 32
MOST_READY_SECONDS, MOST_MB = 1.0, 110.0
LEAST_OF_BEFORE = 0.9  # of an older checkout's throughput at 8 and 32, and of its speed at 1
_TOY_CLIENTS, _PHOTO_CLIENTS = (1, 32), (1, 8, 32)
_PHOTO_MODEL = "mobilenet_v3_small"
_START_SECONDS = 90.0
_WARM_UP_SECONDS = 1.0
_STARTS = 5


@dataclass(frozen=True)
class Server:
    """A process that says its ports: 0 where it has none for HTTP."""

    process: psutil.Process
    grpc_port: int
    http_port: int
    ready_seconds: float

    def cpu_seconds(self) -> float:
        """Of all its threads so far."""
        times = self.process.cpu_times()
        return float(times.user + times.system)

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def running(checkout: Path, *arguments: str) -> Iterator[Server]:
    """`python` with these arguments and the packages of `checkout`, ready once it says its gRPC port."""
    with tempfile.NamedTemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log, cwd=checkout)
        try:
            while (found := re.search(r"gRPC on port (\d+)", text := Path(log.name).read_text())) is None:
                if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    raise RuntimeError(f"{arguments} did not start:\n{text}")
                time.sleep(0.005)
            http = re.search(r"HTTP on port (\d+)", text)
            taken = time.monotonic() - began
            yield Server(psutil.Process(process.pid), int(found[1]), int(http[1]) if http else 0, taken)
        finally:
            process.terminate()
            process.wait(60)


_SERVICE = ("-m", "service", "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0", "--drain-seconds", "0")
_UPSTREAMS = ("--backend", "tfserving", "--target")


@dataclass(frozen=True)
class Turn:
    """One load on one way: answers a second, latencies in milliseconds, CPU that `watched` took, in us a request."""

    rate: float
    p50: float
    p99: float
    cpu: float


Load = Callable[[Server, int, float], Sequence[float]]
"""Server, clients, seconds -> seconds that each answer took. A client asks again when it is answered."""


def run_turn(load: Load, server: Server, clients: int, seconds: float) -> Turn:
    before = server.cpu_seconds()
    taken = sorted(load(server, clients, seconds))
    spent = server.cpu_seconds() - before
    p50, p99 = (1000 * taken[int(len(taken) * share)] for share in (0.5, 0.99))
    return Turn(len(taken) / seconds, p50, p99, 1e6 * spent / len(taken))


def make_predict_load(request: Any, check: Callable[[Any], bool]) -> Load:
    """`request` by gRPC, each call with an id and a trace of its own. The load raises for an answer that `check` does
    not like.
    """
    trace, numbers = os.urandom(12).hex(), itertools.count(1)

    async def run(server: Server, clients: int, seconds: float) -> list[float]:
        taken: list[float] = []
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.grpc_port}") as channel:
            stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
            await stub.Predict(request, timeout=30)
            end = time.perf_counter() + seconds

            async def ask() -> None:
                while (began := time.perf_counter()) < end:
                    number = next(numbers)
                    name = f"{trace}{number:08x}"
                    metadata = (("x-request-id", name), ("traceparent", f"00-{name}-{number:016x}-01"))
                    reply = await stub.Predict(request, timeout=30, metadata=metadata)
                    taken.append(time.perf_counter() - began)
                    if not check(reply):
                        raise RuntimeError(f"unexpected answer: {reply}")

            await asyncio.gather(*(ask() for _ in range(clients)))
        return taken

    def load(server: Server, clients: int, seconds: float) -> list[float]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run(server, clients, seconds))

    return load


def make_http_load(path: str, body: bytes) -> Load:
    """`body` POSTed to `path`, each request with an id and a trace of its own."""

    def load(server: Server, clients: int, seconds: float) -> list[float]:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            outcomes = runner.run(ClosedLoop(f"http://127.0.0.1:{server.http_port}{path}", body).run(clients, seconds))
        if any(one.status != 200 for one in outcomes):
            raise RuntimeError(f"{path} answered {sorted({one.status for one in outcomes})}")
        return [one.seconds for one in outcomes]

    return load


def _half_plus_two_load() -> Load:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = half_plus_two.NAME
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (1, 1):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(3.0)
    return make_predict_load(request, lambda reply: bool(reply.outputs["y"].float_val[0] == 3.5))


def _photo_loads(photo: bytes) -> dict[str, Load]:
    request = predict_pb2.PredictRequest()
    request.model_spec.name = _PHOTO_MODEL
    tensor = request.inputs["image_bytes"]
    tensor.dtype = 7
    tensor.tensor_shape.dim.add(size=1)
    tensor.string_val.append(photo)
    return {
        "JPEG, HTTP /predict": make_http_load(f"/predict/{_PHOTO_MODEL}", photo),
        "JPEG, gRPC Predict": make_predict_load(request, lambda reply: "probabilities" in reply.outputs),
    }


Turns = Mapping[tuple[str, str, int], list[Turn]]
"""(load, way, clients) -> one turn a round."""


Ways = dict[str, tuple[Load, Server]]
"""What is compared: a name -> the load and the server that it goes to."""


def _take_turns(loads: Mapping[str, Ways], clients: Sequence[int], seconds: float, rounds: int) -> Turns:
    """`loads` has for each load its ways, which are compared with each other."""
    for load, server in (way for ways in loads.values() for way in ways.values()):
        load(server, max(clients), _WARM_UP_SECONDS)
    turns: dict[tuple[str, str, int], list[Turn]] = {}
    for number in range(rounds):
        for (name, ways), count in itertools.product(loads.items(), clients):
            print(f"round {number + 1}/{rounds}: {name}, {count} clients ...", flush=True)
            for way, (load, server) in ways.items():
                turns.setdefault((name, way, count), []).append(run_turn(load, server, count, seconds))
    return turns


def _compare(turns: Turns, name: str, count: int, way: str, base: str, figure: Callable[[Turn], float]) -> float:
    """The median over the rounds of what `way` had of `figure`, over what `base` had."""
    rounds = zip(turns[name, way, count], turns[name, base, count], strict=True)
    return median([figure(one) / figure(other) for one, other in rounds])


def _middle(turns: Iterable[Turn], figure: Callable[[Turn], float]) -> float:
    return median([figure(turn) for turn in turns])


@dataclass(frozen=True)
class Start:
    ready_seconds: float
    peak_mb: float


def _measure_toy(upstream: Sequence[str], seconds: float, rounds: int) -> tuple[Turns, Start]:
    """Half-plus-two, straight and through the gateway."""
    here, load = Path.cwd(), _half_plus_two_load()
    with ExitStack() as stack:
        behind = stack.enter_context(running(here, *upstream))
        gateway = (*_SERVICE, "--repository", os.devnull, *_UPSTREAMS, f"127.0.0.1:{behind.grpc_port}")
        ready = []
        for _ in range(_STARTS):
            with running(here, *gateway) as server:
                ready.append(server.ready_seconds)
        front = stack.enter_context(running(here, *gateway))
        ways = {"direct": (load, behind), "gateway": (load, front)}
        turns = _take_turns({"half-plus-two": ways}, _TOY_CLIENTS, seconds, rounds)
        return turns, Start(median(ready), front.peak_mb())


def _measure_photos(checkouts: Mapping[str, Path], seconds: float, rounds: int) -> Turns:
    """A photograph through a gateway that decodes it, and sends pixels to an upstream that runs the network: both from
    each of `checkouts`.
    """
    repository = CACHE.absolute() / _PHOTO_MODEL / "repository"
    exported(repository, _PHOTO_MODEL, UNTRAINED)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        photo = machine.write_photo(Path(folder, "photo.jpg")).read_bytes()
        loads: dict[str, Ways] = {name: {} for name in _photo_loads(photo)}
        for way, checkout in checkouts.items():
            models = "--repository", str(repository)
            behind = stack.enter_context(running(checkout, *_SERVICE, *models))
            target = f"127.0.0.1:{behind.grpc_port}"
            front = stack.enter_context(running(checkout, *_SERVICE, *models, *_UPSTREAMS, target))
            for name, load in _photo_loads(photo).items():
                loads[name][way] = load, front
        return _take_turns(loads, _PHOTO_CLIENTS, seconds, rounds)


_RATE, _P50, _CPU = (lambda turn: turn.rate), (lambda turn: turn.p50), (lambda turn: turn.cpu)


def _toy_rows(upstream: str, turns: Turns) -> Iterator[list[str]]:
    for count in _TOY_CLIENTS:
        direct, through = (turns["half-plus-two", way, count] for way in ("direct", "gateway"))
        yield [
            upstream,
            str(count),
            f"{_middle(direct, _P50):.2f}",
            f"{_middle(through, _P50):.2f}",
            f"{_compare(turns, 'half-plus-two', count, 'gateway', 'direct', _P50):.2f}",
            f"{_middle(direct, _RATE):,.0f}",
            f"{_middle(through, _RATE):,.0f}",
            f"{_compare(turns, 'half-plus-two', count, 'gateway', 'direct', _RATE):.0%}",
            f"{_middle(through, _CPU):.0f}",
        ]


def _photo_rows(turns: Turns) -> Iterator[list[str]]:
    for (name, way, count), measured in sorted(turns.items(), key=lambda item: (item[0][0], item[0][2], item[0][1])):
        row = [
            name,
            str(count),
            way,
            f"{_middle(measured, _P50):.2f}",
            f"{_middle(measured, lambda turn: turn.p99):.2f}",
        ]
        row += [f"{_middle(measured, _RATE):,.0f}", f"{_middle(measured, _CPU):,.0f}"]
        if (name, "before", count) in turns:
            row += [f"{_compare(turns, name, count, way, 'before', figure):.2f}" for figure in (_P50, _RATE)]
        yield row


def _judge_toy(upstream: str, turns: Turns, start: Start) -> Iterator[tuple[bool, str]]:
    p50 = _compare(turns, "half-plus-two", 1, "gateway", "direct", _P50)
    share = _compare(turns, "half-plus-two", 32, "gateway", "direct", _RATE)
    yield p50 <= MOST_TIMES_P50, f"{upstream}: latency {p50:.2f} times"
    yield share >= LEAST_THROUGHPUT, f"{upstream}: throughput {share:.0%}"
    yield start.ready_seconds <= MOST_READY_SECONDS, f"{upstream}: ready after {start.ready_seconds:.2f} s"
    yield start.peak_mb <= MOST_MB, f"{upstream}: {start.peak_mb:.0f} MB at most"


def _judge_photos(turns: Turns) -> Iterator[tuple[bool, str]]:
    for name in {name: None for name, way, _ in turns if way == "before"}:
        speed = 1 / _compare(turns, name, 1, "now", "before", _P50)
        yield speed >= LEAST_OF_BEFORE, f"{name}: {speed:.2f} times as fast as before with 1 client"
        for count in _PHOTO_CLIENTS[1:]:
            rate = _compare(turns, name, count, "now", "before", _RATE)
            yield rate >= LEAST_OF_BEFORE, f"{name}: {rate:.2f} of the throughput before with {count} clients"


def _render(toys: Mapping[str, tuple[Turns, Start]], photos: Turns, seconds: float, rounds: int) -> str:
    toy_head = ("upstream", "clients", "direct p50", "gateway p50", "times", "direct/s", "gateway/s", "share", "CPU us")
    toy_rows = [row for name, (turns, _) in toys.items() for row in _toy_rows(name, turns)]
    photo_head = ["load", "clients", "version", "p50", "p99", "answers/s", "CPU us"]
    older = any(way == "before" for _, way, _ in photos)
    photo_head += ["p50, of before", "rate, of before"] if older else []
    # What a bare server shows is printed and not held: it has less to do than any server of models.
    judged = [one for name in list(toys)[:1] for one in _judge_toy(name, *toys[name])] + list(_judge_photos(photos))
    verdicts = "\n".join(f"- {what}, {'met' if met else '**not met**'}" for met, what in judged)
    return f"""# What the gateway adds

Written by `make bench-gateway`. {machine.describe()}.

Client, gateway and one upstream share {cores()} cores. {rounds} rounds of {seconds:g} s, in which what is compared
takes turns; latencies in milliseconds; ratios are medians over the rounds; CPU is all that the gateway's process
takes, a request. Each client asks again when it is answered. Each request has an id and a trace of its own.

## Next to no work

The model is half-plus-two, so that nothing else costs: no images are decoded, one number goes each way by gRPC.

- *this service* is a second process of this service that runs the SavedModel in TensorFlow.
- *bare* does nothing but answer (`python -m benchmarks.half_plus_two`), so that the gateway is all that limits.

There was no TensorFlow Serving where this was measured. It takes less of the cores than *this service* as an upstream.

{markdown(toy_head, toy_rows)}

## Real work

A 640x427 JPEG comes in. The gateway decodes it and sends pixels, uint8, to a second process of this service that runs
{_PHOTO_MODEL}.

{markdown(photo_head, list(_photo_rows(photos)))}

Wanted of half-plus-two with *this service* behind: at most {MOST_TIMES_P50} times the latency with one client, at
least {LEAST_THROUGHPUT:.0%} of the throughput with {max(_TOY_CLIENTS)}, ready within {MOST_READY_SECONDS:.0f} s, at
most {MOST_MB:.0f} MB.

{verdicts}
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="turns each measurement takes (default: 5)")
    parser.add_argument("--before", type=Path, metavar="DIR", help="a checkout to compare the photographs' rows with")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report (default: {REPORT})")
    arguments = parser.parse_args()
    checkouts = {"before": arguments.before} if arguments.before else {}
    photos = _measure_photos(checkouts | {"now": Path.cwd()}, arguments.seconds, arguments.rounds)
    with tempfile.TemporaryDirectory() as folder:
        write = [sys.executable, "-m", "benchmarks.half_plus_two", "--write", folder]
        subprocess.run(write, check=True, stderr=subprocess.DEVNULL)
        upstreams = {
            "this service": [*_SERVICE, "--repository", folder],
            "bare": ["-m", "benchmarks.half_plus_two"],
        }
        toys = {name: _measure_toy(command, arguments.seconds, arguments.rounds) for name, command in upstreams.items()}
    page = _render(toys, photos, arguments.seconds, arguments.rounds)
    print("\n" + page)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(page, encoding="utf-8")
    print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
