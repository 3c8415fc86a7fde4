"""What is made once for all of pytest-xdist's workers, by whichever needs it first."""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def make_once(name: str, factory: pytest.TempPathFactory, make: Callable[[Path], object]) -> Path:
    """A folder that all workers of this session share, in which `make` has run once. Others wait for its end; where it
    fails, the next worker tries again.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"shared-{name}"
    folder.mkdir(exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".made").exists():
            make(folder)
            (folder / ".made").touch()
    return folder
