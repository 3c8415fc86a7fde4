"""What the classes of a pretrained network are called."""

from collections import Counter
from pathlib import Path

from export.architectures.architecture import Architecture
from export.data.imagenet import read_class_names
from export.data.names import escape, is_text
from export.errors import ExportError
from export.training import weights as start
from service.plurals import format_items
from service.repository.manifest import LABELS


def find(
    architecture: Architecture, weights: str, count: int, labels: str, shown: tuple[str, ...] = ()
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The names of the `count` classes of a network with these `weights`, in order, and what to warn of.

    From the file `labels`; or, of an exported version's own file, that version's; or ImageNet's; or, where images have
    the labels `shown`, these in alphabetical order, as Keras' `image_dataset_from_directory` numbers them. Raises
    ExportError.
    """
    if labels:
        return _read(Path(labels), count), ()
    if weights == start.IMAGENET:
        return read_class_names(), ()
    beside = Path(weights).parent.parent / LABELS
    if beside.is_file():
        return _read(beside, count), ()
    if architecture.pretrained is not None and count == architecture.classes:
        return read_class_names(), (
            f"{escape(weights)} does not name its classes: they get ImageNet's names; --labels FILE gives others",
        )
    if len(shown) == count:
        return shown, (
            f"{escape(weights)} does not name its classes: they get the names of the images' labels, in alphabetical "
            "order; --labels FILE gives others",
        )
    raise ExportError(
        f"{escape(weights)} does not name its {format_items(count, 'class')}: give --labels FILE with one "
        "name a line, in the order "
        "of the network's outputs, or --data DIR to train it"
    )


def _read(file: Path, count: int) -> tuple[str, ...]:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{escape(file)} cannot be read as UTF-8 text: {error}") from error
    names = tuple(line.strip() for line in text.removesuffix("\n").split("\n"))
    if len(names) != count:
        raise ExportError(
            f"{escape(file)} has {format_items(len(names), 'line')}, and the network has {format_items(count, 'class')}"
        )
    if "" in names:
        raise ExportError(f"line {names.index('') + 1} of {escape(file)} is empty: every class needs a name")
    if unfit := [name for name in names if not is_text(name)]:
        raise ExportError(f"{escape(file)} has a name with a control character: '{escape(unfit[0])}'")
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ExportError(f"{escape(file)} has the name {twice[0]!r} twice: every class needs a name of its own")
    return names
