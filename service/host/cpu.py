"""What was measured on this machine, kept on disk so that it is measured once."""

import fcntl
import hashlib
import json
import logging
import math
import os
import platform
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Literal, Self

from service.host.files import write_whole
from service.repository.manifest import Profile

SHARE = "IMAGE_MODEL_SERVER_CORES"
"""An environment variable that a worker process is started with."""

_log = logging.getLogger(__name__)


def cores() -> int:
    """Processors this process may use: no more than its container's limit, and its share where several workers divide
    them up. A limit is no affinity: threads for all of a node's processors would use it up early in each period, and
    then stand still together.
    """
    allowed = max(1, math.ceil(min(len(os.sched_getaffinity(0)), cpu_limit())))
    return min(allowed, int(os.environ.get(SHARE, allowed)))


def cpu_limit(root: Path = Path("/sys/fs/cgroup")) -> float:
    """Processors that the control group allows, Kubernetes' `limits.cpu`; infinite where it sets no limit."""
    try:
        quota, period = (root / "cpu.max").read_text(encoding="ascii").split()  # version 2
    except (OSError, ValueError):
        try:
            files = (root / "cpu" / name for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
            quota, period = (file.read_text(encoding="ascii").strip() for file in files)
        except OSError:
            return math.inf
    return int(quota) / int(period) if quota.isdigit() and int(period) else math.inf  # "max", or -1


def machine() -> str:
    """Processor, cores and engine: where these are the same, so is what a model costs."""
    return f"{processor()}, {cores()} cores, ai-edge-litert {_engine()}"


@cache
def _engine() -> str:
    return version("ai-edge-litert")


@cache
def processor() -> str:
    """As the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor() or platform.machine())


def resident_mb(field: Literal["VmRSS", "VmHWM"] = "VmRSS") -> float:
    """Memory of this process that is in RAM, in MB: now, or (VmHWM) at most so far. Zero where nobody counts it."""
    try:
        status = Path("/proc/self/status").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return next(int(line.split()[1]) * 1024 / 1e6 for line in status.splitlines() if line.startswith(field))


@dataclass(frozen=True, slots=True)
class ProfileStore:
    """A folder of profiles by model file and machine. Losing it costs a measurement, never an error."""

    folder: Path

    @classmethod
    def at(cls, folder: Path) -> Self:
        """`folder` may start with ~; without a home, as users have none in some clusters, it is a temporary one."""
        try:
            return cls(folder.expanduser())
        except RuntimeError:
            return cls(Path(tempfile.gettempdir(), folder.name))

    def read(self, model: Path) -> Profile | None:
        """The profile of this very file on this machine; None where there is none, or it cannot be read."""
        path = self._path(model)
        try:
            return Profile.parse(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except (OSError, ArithmeticError, LookupError, ValueError, TypeError, AttributeError, RecursionError) as error:
            _log.warning("%s cannot be used (%s: %s); measuring again", path, type(error).__name__, error)
            return None

    @contextmanager
    def one_at_a_time(self) -> Iterator[None]:
        """Measurements of several processes would slow each other down: waits until no other one's is under way."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self.folder, os.O_RDONLY)
        except OSError:  # nothing can be kept here, and `write` will say so
            yield
            return
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)  # and the lock with it

    def write(self, model: Path, profile: Profile) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(model), json.dumps(asdict(profile)).encode())  # other processes read and write it
        except OSError as error:
            _log.warning("what was measured is not kept (%s); name a writable folder with --cache-dir", error)

    def _path(self, model: Path) -> Path:
        with model.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256")
        digest.update(machine().encode())
        return self.folder / f"{digest.hexdigest()}.json"
