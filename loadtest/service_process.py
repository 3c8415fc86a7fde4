"""A `python -m service` of our own to measure, on free ports."""

import re
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Self

_START_SECONDS = 60.0


class ServiceProcess:
    """Started on entering, ready when entered, stopped on leaving."""

    def __init__(self, repository: Path, patience: float = _START_SECONDS) -> None:
        self._repository, self._patience = repository, patience
        self.url = ""
        self.ready_seconds = 0.0

    def __enter__(self) -> Self:
        self._log = tempfile.NamedTemporaryFile("w+")
        began = time.monotonic()
        command = [sys.executable, "-m", "service", "--repository", str(self._repository), "--host", "127.0.0.1"]
        self._process = subprocess.Popen(
            [*command, "--http-port", "0", "--grpc-port", "0", "--drain-seconds", "0"],
            stderr=self._log,
            stdout=self._log,
        )
        try:
            while not self._ready():
                if self._process.poll() is not None or time.monotonic() - began > self._patience:
                    raise RuntimeError(f"the service did not become ready:\n{Path(self._log.name).read_text()}")
                time.sleep(0.01)
        except BaseException:
            self.__exit__()
            raise
        self.ready_seconds = time.monotonic() - began
        return self

    def __exit__(self, *_: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._log.close()

    def rss_mb(self) -> float:
        """Resident memory now, in MB."""
        status = Path(f"/proc/{self._process.pid}/status").read_text(encoding="utf-8")
        return int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) * 1024 / 1e6

    def _ready(self) -> bool:
        found = re.search(r"HTTP on port (\d+)", Path(self._log.name).read_text(encoding="utf-8", errors="replace"))
        if found is None:
            return False
        self.url = f"http://127.0.0.1:{found[1]}"
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5) as reply:
                return bool(reply.status == 200)
        except urllib.error.URLError:
            return False
