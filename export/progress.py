"""What a person sees while an export runs: a live bar on a terminal, plain lines anywhere else."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

_QUIET_SECONDS = 10.0
"""Without a terminal, a long stage says something at least this often."""


class Stage:
    """One step under way. `line` is for milestones (an epoch), `advance` for every small step."""

    def __init__(self, title: str, write: Callable[[str], object]) -> None:
        self.result = ""
        """What came of it; shown behind the title once it is over."""
        self._title = title
        self._write = write
        self._open = True
        self._said = time.monotonic()
        write(f"{title} ...")

    def advance(self, done: int, total: int, note: str = "") -> None:
        if time.monotonic() - self._said >= _QUIET_SECONDS:
            self.line(f"{done}/{total} {note}".rstrip())

    def line(self, text: str) -> None:
        self._said = time.monotonic()
        self._write(f"{self._break()}  {text}\n")
        self._open = False

    def tell(self, text: str) -> None:
        """For what a person must see wherever it is printed."""
        self.line(text)

    def warn(self, text: str) -> None:
        self.tell(f"warning: {text}")

    def end(self, text: str) -> None:
        """`text` goes behind the title where nothing has been said since."""
        self._write(f" {text}\n" if self._open else f"{self._title}: {text}\n")
        self._open = False

    def _break(self) -> str:
        return "\n" if self._open else ""


class LiveStage(Stage):
    """The same on a terminal, where a bar says it all."""

    def __init__(self, bar: Any, title: str) -> None:
        super().__init__(title, lambda text: None)
        self._bar = bar
        self._task = bar.add_task(title, total=None, note="")

    def advance(self, done: int, total: int, note: str = "") -> None:
        self._bar.update(self._task, completed=done, total=total, note=note)

    def tell(self, text: str) -> None:
        self._bar.console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)


class Progress:
    """Stages, one after another, on stderr."""

    def __init__(self) -> None:
        from rich.console import Console

        # A descriptor of its own, since `quiet.silenced` points number 2 elsewhere for a while.
        self._file = os.fdopen(os.dup(2), "w", encoding="utf-8", errors="replace")
        self._console = Console(file=self._file)

    def heading(self, text: str) -> None:
        self._console.print(f"\n{text}", style="bold", markup=False, highlight=False, soft_wrap=True)

    def note(self, text: str) -> None:
        """A line between stages."""
        self._console.print(f"  {text}", markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def stage(self, title: str) -> Iterator[Stage]:
        """Shows `title` while the block runs; its `result` and seconds once it has ended well."""
        from rich.markup import escape

        started = time.monotonic()

        def outcome(stage: Stage) -> str:
            return ", ".join(part for part in (stage.result, f"{time.monotonic() - started:.1f} s") if part)

        if self._console.is_terminal:
            with self._live() as bar:
                live = LiveStage(bar, title)
                yield live
            text = f"[green]✓[/] {escape(title)}[dim]: {escape(outcome(live))}[/]"
            self._console.print(text, highlight=False, soft_wrap=True)
        else:
            stage = Stage(title, self._say)
            ended = "stopped"
            try:
                yield stage
                ended = outcome(stage)
            finally:
                stage.end(ended)

    def _say(self, text: str) -> None:
        self._file.write(text)
        self._file.flush()

    def _live(self) -> Any:
        from rich import progress

        return progress.Progress(
            progress.SpinnerColumn(),
            progress.TextColumn("{task.description}"),
            progress.BarColumn(bar_width=24),
            progress.TextColumn("{task.fields[note]}", style="dim"),
            progress.TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
