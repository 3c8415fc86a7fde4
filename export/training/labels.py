"""Whether given weights answer for the classes of the data set: a head of as many others fits, and means others."""

from dataclasses import replace
from pathlib import Path

from export.data.names import escape
from export.errors import ExportError
from export.training.options import NONE
from export.training.weights import Start
from service.repository.manifest import LABELS

_SHOWN = 3


def check_labels(start: Start, weights: str, labels: tuple[str, ...], strategy: str) -> Start:
    """`start`, its last layer not among the known ones where the exported version that it is from has other labels.

    Raises ExportError where nothing is trained.
    """
    given = _read_labels(weights)
    last = [layer for layer in start.model.layers if layer.weights][-1]
    if not given or given == labels or last not in start.known:
        return start
    differ = f"the labels of {escape(weights)} ({_list(given)}) are not those of the images ({_list(labels)})"
    if strategy == NONE:
        raise ExportError(f"{differ}, and --strategy none trains nothing; give --strategy auto")
    return replace(
        start,
        known=tuple(layer for layer in start.known if layer is not last),
        warnings=(*start.warnings, f"{differ}: its last layer is trained anew"),
    )


def _read_labels(weights: str) -> tuple[str, ...]:
    """Of the version that the file `assets.extra/network.keras` lies in; none for other files."""
    try:
        return tuple((Path(weights).parent.parent / LABELS).read_text(encoding="utf-8").splitlines())
    except (OSError, UnicodeDecodeError):
        return ()


def _list(labels: tuple[str, ...]) -> str:
    return ", ".join(labels[:_SHOWN]) + ("" if len(labels) <= _SHOWN else ", ...")
