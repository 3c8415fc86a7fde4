"""A real `python -m service` in a process of its own, for tests that talk to it over sockets."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import httpx

CACHE = Path(tempfile.gettempdir()) / "image-model-server-tests"
DEFAULTS = {
    "SERVICE_HTTP_PORT": "0",
    "SERVICE_GRPC_PORT": "0",
    "SERVICE_HOST": "127.0.0.1",
    "SERVICE_DRAIN_SECONDS": "0",
    "SERVICE_CACHE_DIR": str(CACHE),
}
START_SECONDS = 90.0  # TensorFlow's import on a busy machine


@dataclass(frozen=True)
class Service:
    process: "subprocess.Popen[bytes]"
    log_file: Path

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    @property
    def http_port(self) -> int:
        return int(self._logged(r"HTTP on port (\d+)"))

    @property
    def grpc_port(self) -> int:
        return int(self._logged(r"gRPC on port (\d+)"))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.http_port}"

    def channel(self) -> grpc.Channel:
        return grpc.insecure_channel(f"127.0.0.1:{self.grpc_port}", options=[("grpc.max_receive_message_length", -1)])

    def metric(self, series: str, timeout: float = 30.0) -> float:
        """The value on /metrics of `series`, with its labels as written there, or the sum over all labels; else 0."""
        return read_metric(httpx.get(f"{self.url}/metrics", timeout=timeout).text, series)

    def wait_ready(self, seconds: float = START_SECONDS) -> None:
        self.wait_until(lambda: httpx.get(f"{self.url}/readyz").status_code == 200, seconds)

    def wait_until(self, condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while True:
            with suppress(httpx.TransportError):
                if condition():
                    return
            assert self.process.poll() is None, f"the service ended with {self.process.returncode}:\n{self.log()}"
            assert time.monotonic() < deadline, f"waited {seconds} s in vain:\n{self.log()}"
            time.sleep(0.02)

    def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 60) -> int:
        """Sends the signal and returns the exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)

    def _logged(self, pattern: str) -> str:
        self.wait_until(lambda: re.search(pattern, self.log()) is not None)
        found: list[str] = re.findall(pattern, self.log())
        return found[0]


def read_metric(page: str, series: str) -> float:
    """What `Service.metric` reads, from a page that is there already."""
    labels = "" if "{" in series else r"(?:\{[^}]*\})?"
    return sum(map(float, re.findall(rf"^{re.escape(series)}{labels} (\S+)$", page, re.MULTILINE)))


@contextmanager
def running(*arguments: object, env: Mapping[str, str] | None = None) -> Iterator[Service]:
    """The service on free ports, killed at the end if it still runs. `wait_ready` is the caller's."""
    engine = {"SERVICE_ENGINE": "litert"}  # a race takes seconds, and tests/e2e/test_engines.py holds it
    line = [sys.executable, "-m", "service", *map(str, arguments)]
    with started(line, {**os.environ, **DEFAULTS, **engine, **(env or {})}) as service:
        yield service


@contextmanager
def started(line: Sequence[str], env: Mapping[str, str]) -> Iterator[Service]:
    """The service that this command line starts, killed at the end if it still runs."""
    with tempfile.TemporaryDirectory() as folder:
        log_file = Path(folder, "log")
        with log_file.open("wb") as log:
            process = subprocess.Popen(line, stdout=log, stderr=subprocess.STDOUT, env=env)
        try:
            yield Service(process, log_file)
        finally:
            process.kill()
            process.wait()
