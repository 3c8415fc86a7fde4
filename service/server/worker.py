"""One of several processes of the service: its identity, and which of the others are ready."""

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Worker:
    """Worker `number` of `count`, started by the process `parent`; `again` where it replaces one that died.

    All workers share `folder`: it holds their counters, and a file for each that has become ready.
    """

    number: int
    count: int
    folder: Path
    parent: int
    again: bool

    def report_ready(self) -> None:
        ready_file(self.folder, self.number).touch()

    def describe_awaited(self) -> str:
        """Which workers have not become ready, in words; empty once all have been, even if one died since."""
        if all_ready_file(self.folder).exists():
            return ""
        missing = [str(one) for one in range(self.count) if not ready_file(self.folder, one).exists()]
        return f"still waiting for worker {', '.join(missing)} of {self.count}"

    @property
    def orphaned(self) -> bool:
        """Whether the parent is gone."""
        return os.getppid() != self.parent

    def on_orphaned(self, leave: Callable[[], object]) -> None:
        """Calls `leave` when the parent is gone, however it ended: its end of our stdin pipe closes then."""

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
