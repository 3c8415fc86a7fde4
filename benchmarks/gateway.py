"""`make bench-gateway`: what the gateway adds to a gRPC call to the very same upstream.

Client, gateway and upstream share the machine's cores. Direct calls and calls through the gateway take turns in rounds,
so that a machine whose speed drifts treats both alike: trust the ratios more than the numbers.
"""

import argparse
import asyncio
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import grpc.aio
import uvloop

from benchmarks import half_plus_two
from benchmarks.measurement import Measurement
from loadtest.markdown import markdown
from loadtest.target import machine
from service.host.cpu import cores
from service.protobuf.stubs import predict_pb2, prediction_service_pb2_grpc

REPORT = Path("docs/gateway.md")
CONCURRENCIES = (1, 32)
MOST_TIMES_P50, LEAST_THROUGHPUT = 2.2, 0.55  # at concurrency 1, at 32
MOST_READY_SECONDS, MOST_MB = 1.0, 100.0
_START_SECONDS = 90.0
_WARM_UP_SECONDS = 1.0
_STARTS = 5


@dataclass(frozen=True)
class Server:
    """A process that speaks PredictionService on a port of 127.0.0.1."""

    process: "subprocess.Popen[bytes]"
    port: int
    ready_seconds: float

    def cpu_seconds(self) -> float:
        """Of all its threads so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mb(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6


@contextmanager
def running(*arguments: str) -> Iterator[Server]:
    """`python` with these arguments, ready once it says its gRPC port."""
    with tempfile.NamedTemporaryFile("w+") as log:
        began = time.monotonic()
        process = subprocess.Popen([sys.executable, *arguments], stdout=log, stderr=log)
        try:
            while (found := re.search(r"gRPC on port (\d+)", Path(log.name).read_text())) is None:
                if process.poll() is not None or time.monotonic() - began > _START_SECONDS:
                    raise RuntimeError(f"{arguments} did not start:\n{Path(log.name).read_text()}")
                time.sleep(0.005)
            yield Server(process, int(found[1]), time.monotonic() - began)
        finally:
            process.terminate()
            process.wait(60)


_SERVICE = ("-m", "service", "--host", "127.0.0.1", "--http-port", "0", "--grpc-port", "0", "--drain-seconds", "0")
_UPSTREAMS = ("--backend", "tfserving", "--target")


@dataclass(frozen=True)
class Turn:
    """One load on one way. `cpu_us` is the gateway's, a request; zero on the direct way."""

    measured: Measurement
    cpu_us: float

    @property
    def rate(self) -> float:
        return self.measured.requests / self.measured.seconds


async def _load(port: int, concurrency: int, seconds: float) -> Measurement:
    """`concurrency` clients that each ask again when they are answered (closed loop)."""
    request = predict_pb2.PredictRequest()
    request.model_spec.name = half_plus_two.NAME
    tensor = request.inputs["x"]
    tensor.dtype = 1
    for size in (1, 1):
        tensor.tensor_shape.dim.add(size=size)
    tensor.float_val.append(3.0)
    taken: list[float] = []
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        await stub.Predict(request, timeout=10)
        end = time.perf_counter() + seconds

        async def client() -> None:
            while (began := time.perf_counter()) < end:
                reply = await stub.Predict(request, timeout=10)
                taken.append(time.perf_counter() - began)
                assert reply.outputs["y"].float_val[0] == 3.5, reply

        await asyncio.gather(*(client() for _ in range(concurrency)))
    taken.sort()
    return Measurement(len(taken), seconds, *(taken[int(len(taken) * share)] * 1000 for share in (0.5, 0.99)))


def _turn(port: int, concurrency: int, seconds: float, through: Server | None) -> Turn:
    before = through.cpu_seconds() if through else 0.0
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        measured = runner.run(_load(port, concurrency, seconds))
    spent = through.cpu_seconds() - before if through else 0.0
    return Turn(measured, spent / measured.requests * 1e6)


@dataclass(frozen=True)
class Outcome:
    """What one upstream showed: by concurrency the rounds of both ways, and the gateway's start and size."""

    upstream: str
    direct: dict[int, list[Turn]]
    through: dict[int, list[Turn]]
    ready_seconds: float
    peak_mb: float

    def times_p50(self, concurrency: int) -> float:
        return _middle(t.measured.p50_ms / d.measured.p50_ms for d, t in self._rounds(concurrency))

    def throughput(self, concurrency: int) -> float:
        return _middle(t.rate / d.rate for d, t in self._rounds(concurrency))

    def _rounds(self, concurrency: int) -> Iterator[tuple[Turn, Turn]]:
        return zip(self.direct[concurrency], self.through[concurrency], strict=True)


def _middle(values: Iterable[float]) -> float:
    return median(list(values))


def _start_and_stop(*arguments: str) -> float:
    with running(*arguments) as server:
        return server.ready_seconds


def _compare(name: str, upstream_arguments: Sequence[str], seconds: float, rounds: int) -> Outcome:
    with ExitStack() as stack:
        upstream = stack.enter_context(running(*upstream_arguments))
        gateway = (*_SERVICE, "--repository", os.devnull, *_UPSTREAMS, f"127.0.0.1:{upstream.port}")
        ready = [_start_and_stop(*gateway) for _ in range(_STARTS)]
        front = stack.enter_context(running(*gateway))
        for port in (upstream.port, front.port):
            _turn(port, max(CONCURRENCIES), _WARM_UP_SECONDS, None)
        direct: dict[int, list[Turn]] = {concurrency: [] for concurrency in CONCURRENCIES}
        through: dict[int, list[Turn]] = {concurrency: [] for concurrency in CONCURRENCIES}
        for number in range(rounds):
            for concurrency in CONCURRENCIES:
                print(f"{name}, round {number + 1}/{rounds}, concurrency {concurrency} ...", flush=True)
                direct[concurrency].append(_turn(upstream.port, concurrency, seconds, None))
                through[concurrency].append(_turn(front.port, concurrency, seconds, front))
        return Outcome(name, direct, through, median(ready), front.peak_mb())


def _page(outcomes: Sequence[Outcome], seconds: float, rounds: int) -> str:
    rows = []
    for outcome in outcomes:
        for concurrency in CONCURRENCIES:
            direct, through = outcome.direct[concurrency], outcome.through[concurrency]
            rows.append(
                [
                    outcome.upstream,
                    str(concurrency),
                    f"{_middle(each.measured.p50_ms for each in direct):.2f}",
                    f"{_middle(each.measured.p50_ms for each in through):.2f}",
                    f"{outcome.times_p50(concurrency):.2f}",
                    f"{_middle(each.rate for each in direct):,.0f}",
                    f"{_middle(each.rate for each in through):,.0f}",
                    f"{100 * outcome.throughput(concurrency):.0f} %",
                    f"{_middle(each.cpu_us for each in through):.0f}",
                ]
            )
    head = ("upstream", "clients", "direct p50", "gateway p50", "times", "direct/s", "gateway/s", "share", "CPU us")
    verdicts = "\n".join(f"- {line}" for outcome in outcomes for line in _verdicts(outcome))
    return f"""# What the gateway adds

Written by `make bench-gateway`. {machine.describe()}.

The model is half-plus-two, so that nothing else costs: no images are decoded, one number goes each way. A grpc.aio
client, the gateway and one upstream share {cores()} cores. {rounds} rounds of {seconds:g} s, in which calls without and
with the gateway take turns; latencies in milliseconds; ratios are medians over the rounds; CPU is all that the
gateway's process takes, a request. Each client asks again when it is answered.

- *this service* is a second process of this service that runs the SavedModel in TensorFlow.
- *bare* does nothing but answer (`python -m benchmarks.half_plus_two`), so that the gateway is all that limits.

There was no TensorFlow Serving where this was measured. It takes less of the cores than *this service* as an upstream.

{markdown(head, rows)}

Wanted: at most {MOST_TIMES_P50} times the latency with one client, at least {100 * LEAST_THROUGHPUT:.0f} %
of the throughput with {max(CONCURRENCIES)}, ready within {MOST_READY_SECONDS:.0f} s, at most {MOST_MB:.0f} MB.

{verdicts}
"""


def _verdicts(outcome: Outcome) -> Iterator[str]:
    p50, share = outcome.times_p50(1), outcome.throughput(max(CONCURRENCIES))
    for met, what in (
        (p50 <= MOST_TIMES_P50, f"latency {p50:.2f} times"),
        (share >= LEAST_THROUGHPUT, f"throughput {100 * share:.0f} %"),
        (outcome.ready_seconds <= MOST_READY_SECONDS, f"ready after {outcome.ready_seconds:.2f} s"),
        (outcome.peak_mb <= MOST_MB, f"{outcome.peak_mb:.0f} MB at most"),
    ):
        yield f"{outcome.upstream}: {what}, {'met' if met else '**not met**'}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each load (default: 3)")
    parser.add_argument("--rounds", type=int, default=5, help="turns each measurement takes (default: 5)")
    parser.add_argument("--output", type=Path, default=REPORT, help=f"the report (default: {REPORT})")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "benchmarks.half_plus_two", "--write", folder],
            check=True,
            stderr=subprocess.DEVNULL,
        )
        outcomes = [
            _compare("this service", [*_SERVICE, "--repository", folder], arguments.seconds, arguments.rounds),
            _compare("bare", ["-m", "benchmarks.half_plus_two"], arguments.seconds, arguments.rounds),
        ]
    page = _page(outcomes, arguments.seconds, arguments.rounds)
    print("\n" + page)
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    arguments.output.write_text(page, encoding="utf-8")
    print(f"written to {arguments.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
