"""How long a pod takes until it gets traffic: what can be measured here is, the rest is said."""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from loadtest.target.process import ServerProcess

SCHEDULED = 1.0  # seconds until a node has the pod
IMAGE_MB, NETWORK_MB = 110.0, 50.0  # compressed; a second
UNPACKED = 2.0
PROBED = 2.0  # half the readiness probe's period, and a second for endpoints to be told
_TIMES = 5


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds. `synced` and `ready` were measured: models brought, and from the process's start until /readyz, while
    the machine's load average was `others`.
    """

    synced: float
    ready: float
    others: float

    @property
    def pulled(self) -> float:
        return IMAGE_MB / NETWORK_MB + UNPACKED

    @property
    def total(self) -> float:
        return SCHEDULED + self.pulled + self.synced + self.ready + PROBED


def measure(repository: Path, model: str) -> Start:
    """The medians of five, each with an empty cache: a new pod measures its models too."""
    synced, ready, others = [], [], os.getloadavg()[0]
    for _ in range(_TIMES):
        with tempfile.TemporaryDirectory() as folder:
            began = time.monotonic()
            command = [sys.executable, "-m", "service", "sync", str(repository), f"{folder}/models", "--models", model]
            subprocess.run(command, check=True, capture_output=True, timeout=120)
            synced.append(time.monotonic() - began)
            with ServerProcess.service(Path(folder, "models"), model, "--cache-dir", f"{folder}/cache") as server:
                ready.append(server.ready_seconds)
    return Start(statistics.median(synced), statistics.median(ready), others)
