"""One of several processes of the service: who it is, and what it knows of the others."""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Worker:
    """Number `number` of `count`, whose `parent` process started it; `again` where it follows one that died.

    `folder` is all the workers': their counters, and a file for each that has become ready.
    """

    number: int
    count: int
    folder: Path
    parent: int
    again: bool

    def say_ready(self) -> None:
        ready_file(self.folder, self.number).touch()

    def awaited(self) -> str:
        """The workers that have not become ready, in words; empty once all were, whatever became of them."""
        if all_ready_file(self.folder).exists():
            return ""
        missing = [str(one) for one in range(self.count) if not ready_file(self.folder, one).exists()]
        return f"still waiting for worker {', '.join(missing)} of {self.count}"

    @property
    def orphaned(self) -> bool:
        """Whether the parent is gone."""
        return os.getppid() != self.parent

    def on_orphaned(self, leave: Callable[[], object]) -> None:
        """Calls `leave` when the parent is gone, however it went: its end of the pipe that is our stdin closes."""

        def ended() -> None:
            if not os.read(sys.stdin.fileno(), 1):
                asyncio.get_running_loop().remove_reader(sys.stdin.fileno())
                leave()

        asyncio.get_running_loop().add_reader(sys.stdin.fileno(), ended)


def all_ready_file(folder: Path) -> Path:
    """The parent's."""
    return folder / "all-ready"


def ready_file(folder: Path, number: int) -> Path:
    return folder / f"ready-{number}"
