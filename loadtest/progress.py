"""What a person sees while a load test runs: a live line on a terminal, plain lines anywhere else."""

from typing import Any, Self

from loadtest.results import Point

_COLUMNS = "{:<24} {:<14} {:>10} {:>10} {:>9} {:>9} {:>9}  {}"
HEAD = _COLUMNS.format("model", "scenario", "offered/s", "answers/s", "p50 ms", "p99 ms", "failed", "")


class Progress:
    """On stderr: which model, which load, how far; above it a line for each point that is done."""

    def __init__(self, models: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
        from rich.progress import Progress as Bar

        self._console = Console(stderr=True, highlight=False)
        self._live = self._console.is_terminal
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}")
        self._bar = Bar(*columns, console=self._console, transient=True, disable=not self._live)
        self._task = self._bar.add_task("", total=models, note="")
        self._model = ""

    def __enter__(self) -> Self:
        self._bar.start()
        self.tell(HEAD)
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def model(self, name: str) -> None:
        if self._model:
            self._bar.advance(self._task)
        self._model = name

    def say(self, doing: str) -> None:
        self._bar.update(self._task, description=f"{self._model}: {doing}", note="")

    def hear(self, event: dict[str, Any]) -> None:
        """The generator's events."""
        if event["event"] == "progress" and event["seconds"] > 0:
            self._bar.update(self._task, note=f"{event['seconds']:.0f} s, {event['answers']:,} answers")

    def point(self, point: Point) -> None:
        p50, p99 = (point.latencies.percentile(percent) for percent in (50, 99))
        users = "-" if point.concurrency is None else f"{point.concurrency} users"
        offered = users if point.offered is None else f"{point.offered:.1f}"
        answered = f"{point.throughput:.1f}" if point.seconds else "-"
        failed = point.requests - len(point.latencies)
        note = f"INVALID: {point.invalid}" if point.invalid else ""
        numbers = (offered, answered, _milliseconds(p50), _milliseconds(p99), f"{failed:,}")
        self.tell(_COLUMNS.format(self._model[:24], point.scenario, *numbers, note))

    def tell(self, text: str) -> None:
        self._console.print(text, markup=False, soft_wrap=True)


def _milliseconds(seconds: float | None) -> str:
    return "-" if seconds is None else f"{1000 * seconds:.1f}"
