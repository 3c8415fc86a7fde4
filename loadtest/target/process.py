"""Servers to measure, each in processes of its own on free ports: this service, and what most people write."""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

from loadtest.target import processes

_START_SECONDS = 120.0
_WORKERS = 2
_SETTLE_SECONDS = 30.0
_STOP_SECONDS = 60.0  # the service gives what is under way half of that
_LOOK = 0.2  # seconds between two looks
_IDLE = 0.1  # of a core
_LAST_LINES = 8


class ServerProcess:
    """Started on entering, ready when entered, stopped on leaving."""

    def __init__(
        self,
        command: Sequence[str],
        announced: str | int,
        ready: str,
        predict: str,
        environment: Mapping[str, str] | None = None,
        patience: float = _START_SECONDS,
    ) -> None:
        """`announced` is the port, or finds it in what the server logs; it is ready when GET `ready` answers 200."""
        self._command, self._announced, self._ready_path, self._predict = command, announced, ready, predict
        self._environment, self._patience = environment or {}, patience
        self._base = ""
        self.ready_seconds = 0.0

    @classmethod
    def service(cls, repository: Path, model: str, *arguments: str, patience: float = _START_SECONDS) -> Self:
        """This service with the models of `repository`, asked for `model`; `arguments` are flags of its own."""
        command = [sys.executable, "-m", "service", "--repository", str(repository), "--host", "127.0.0.1"]
        command += ["--http-port", "0", "--grpc-port", "0", "--drain-seconds", "0", *arguments]
        return cls(command, r"HTTP on port (\d+)", "/readyz", f"/predict/{model}", patience=patience)

    @classmethod
    def plain(cls, stock: Path, patience: float = _START_SECONDS) -> Self:
        """`plain_app` with two workers around the SavedModel in `stock`."""
        command = [sys.executable, "-m", "uvicorn", "benchmarks.plain_app:app", "--workers", str(_WORKERS)]
        command += ["--port", "0", "--no-access-log"]
        environment = {"MODEL": str(stock), "TF_CPP_MIN_LOG_LEVEL": "3"}
        announced = r"running on http://127\.0\.0\.1:(\d+)" + ".*startup complete" * _WORKERS
        return cls(command, announced, "/openapi.json", "/predict", environment, patience)

    @property
    def url(self) -> str:
        """Where images are posted."""
        return f"{self._base}{self._predict}"

    @property
    def base(self) -> str:
        """http://host:port"""
        return self._base

    @property
    def grpc(self) -> str:
        """host:port of this service's gRPC, which opens a moment after /readyz says that it is ready."""
        patience = time.monotonic() + _START_SECONDS
        while (found := re.search(r"gRPC on port (\d+)", self.log())) is None:
            if self._process.poll() is not None or time.monotonic() > patience:
                raise RuntimeError(f"the server did not open its gRPC port:\n{self.log()}")
            time.sleep(0.01)
        return f"127.0.0.1:{found[1]}"

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def command(self) -> str:
        """As one would type it."""
        return shlex.join(["python", *self._command[1:]])

    def log(self) -> str:
        return Path(self._log.name).read_text(encoding="utf-8", errors="replace")

    def death(self) -> str | None:
        """How it ended, and the last it said; None while it runs."""
        if (code := self._process.poll()) is None:
            return None
        how = f"was ended by signal {-code}" if code < 0 else f"ended with exit status {code}"
        last = self.log().splitlines()[-_LAST_LINES:]
        return "\n  ".join([f"the service {how}; its last words:", *last])

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile("w+")
        began = time.monotonic()
        environment = {**os.environ, **self._environment}
        # A session of its own: Ctrl-C is for who measures, and must not look like a server that dies.
        self._process = subprocess.Popen(
            self._command, stderr=self._log, stdout=self._log, env=environment, start_new_session=True
        )
        try:
            while not self._ready():
                if self._process.poll() is not None or time.monotonic() - began > self._patience:
                    raise RuntimeError(f"the server did not become ready:\n{self.log()}")
                time.sleep(0.01)
        except BaseException:
            self.__exit__()
            raise
        self.ready_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        try:
            self._process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def kill(self) -> None:
        """At once, nothing drained. Leaving it is still the caller's."""
        self._process.kill()

    def settle(self, seconds: float = _SETTLE_SECONDS) -> None:
        """Returns when it computes no more, or after `seconds`: a plain server goes on with what a load's end has left
        it.
        """
        until = time.monotonic() + seconds
        before = -1.0
        while (now := processes.cpu_seconds(self._process.pid)) - before > _IDLE * _LOOK and time.monotonic() < until:
            before = now
            time.sleep(_LOOK)

    def memory_mb(self) -> float:
        """Memory of its processes now, in MB; what several share is counted once (PSS)."""
        return processes.memory_mb(self._process.pid)

    def _ready(self) -> bool:
        if (port := self._find_port()) is None:
            return False
        self._base = f"http://127.0.0.1:{port}"
        try:
            with urllib.request.urlopen(f"{self._base}{self._ready_path}", timeout=5) as reply:
                return bool(reply.status == 200)
        except OSError:  # refused, an error status, or slow to answer
            return False

    def _find_port(self) -> int | None:
        if isinstance(self._announced, int):
            return self._announced
        found = re.search(self._announced, self.log(), re.DOTALL)
        return int(found[1]) if found else None
