"""Cells of the report's tables that hold rates and latencies."""

from drawing.tables import NOTHING, Cell
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.results import Latencies


def amount(value: float | None, hint: str = "") -> Cell:
    return NOTHING if value is None else Cell(value, wording.number(value), "", hint)


def percentile(latencies: Latencies | None, percent: float) -> Cell:
    """Milliseconds; where the answers are too few to bound it, that."""
    if latencies is None or not len(latencies):
        return NOTHING
    seconds = samples.percentile(latencies, percent)
    if seconds is None:
        return Cell(None, "too few", "none")
    return Cell(1000 * seconds, wording.milliseconds(seconds))
