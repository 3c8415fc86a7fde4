"""Images without labels, to calibrate and check a network on: photographs that packages ship, or a folder of images.

Of few photographs, crops of many sizes and shapes are taken: some calibrate, others check.
"""

import io
from dataclasses import replace
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from export.data.names import escape
from export.data.options import MAX_BAD_FILES
from export.data.partition import Partition
from export.data.sources import SUFFIXES, Source, read_bytes
from export.errors import ExportError, UsageError
from export.progress import Stage

if TYPE_CHECKING:  # arguments are judged before any image is decoded
    from export.data.dataset import Dataset, Example

PHOTOGRAPHS = "photographs"

# Of things that ImageNet has classes for: where a network can only guess, as of gravel, rounding changes its answer and
# agreement says nothing. They are read where they are installed. Licences: CC0 or public domain, says the docstring of
# each in skimage.data; scikit-learn's are CC BY 2.0 (by danielbuechele, Flickr).
_FILES = (
    ("skimage.data", "coffee.png"),
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
    ("skimage.data", "rocket.jpg"),
    ("skimage.data", "camera.png"),
    ("skimage.data", "brick.png"),
)

_CROPS = 38
"""Of each photograph, to check; `_CALIBRATION` more to calibrate."""
_CALIBRATION = 16
_SEED = 14
_LEAST_SIDE = 0.5
_NARROWEST = 3 / 4
_QUALITY = 95

_FEWEST, _MOST = 8, 1024


def load(
    folder: str, labels: tuple[str, ...], size: int, stage: Stage, max_bad_files: float = MAX_BAD_FILES
) -> "Dataset":
    """Images of `folder`, or packaged photographs for "", decoded to [size, size], for a network with these `labels`.

    `train` calibrates and `held_out` checks; every class is -1, nobody knows which it is. Raises ExportError where more
    than the share `max_bad_files` cannot be used, or the packages are missing.
    """
    import numpy as np

    from export.data import dataset as data

    source, parts = _read_folder(Path(folder)) if folder else _cut_crops()
    found = data.load(source, size, stage, max_bad_files, parts)
    train, held_out = (replace(each, classes=np.full_like(each.classes, -1)) for each in (found.train, found.held_out))
    return replace(found, labels=labels, train=train, validation=held_out, held_out=held_out)


def list_examples() -> tuple["Example", ...]:
    """The packaged photographs, whole. Raises ExportError where the packages are missing."""
    from export.data.dataset import Example

    return tuple(Example(_read_file(package, file), Path(file).stem, file) for package, file in _FILES)


def find_files(folder: Path) -> list[Path]:
    """The images below `folder`, sorted, at most `_MOST` of them, evenly spread. Raises UsageError."""
    import numpy as np

    if not folder.is_dir():
        raise UsageError(f"Invalid --calibration {escape(folder)}: expected a folder of images")
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES and file.is_file())
    if len(files) < _FEWEST:
        raise UsageError(
            f"Invalid --calibration {escape(folder)}: expected at least {_FEWEST} images in it, got {len(files)}"
        )
    return [files[index] for index in np.linspace(0, len(files) - 1, min(_MOST, len(files))).astype(int)]


def _read_folder(folder: Path) -> tuple[Source, Partition]:
    """Every second image calibrates."""
    import numpy as np

    files = find_files(folder)
    order = np.arange(len(files))
    source = Source(
        name=escape(folder.resolve().name),
        labels=("image",),
        classes=np.zeros(len(files), np.int32),
        read=lambda index: read_bytes(files[index]),
        describe=lambda index: escape(files[index]),
    )
    return source, Partition(train=order[1::2], validation=order[:0], held_out=order[::2])


def _cut_crops() -> tuple[Source, Partition]:
    """The photographs themselves and crops of them check; other crops calibrate."""
    import numpy as np

    each = 1 + _CROPS + _CALIBRATION
    names = tuple(Path(file).stem for _, file in _FILES)
    generator = np.random.default_rng(_SEED)
    draws = generator.random((len(_FILES), each, 5))

    def read(index: int) -> bytes:
        photograph, number = divmod(index, each)
        if number == 0:
            return _read_file(*_FILES[photograph])
        return cut(_open(*_FILES[photograph]), draws[photograph, number])

    # By turns, so that the first ones are whole photographs, one of each.
    turns = np.arange(len(_FILES) * each).reshape(len(_FILES), each).T
    source = Source(
        name=PHOTOGRAPHS,
        labels=names,
        classes=np.repeat(np.arange(len(_FILES), dtype=np.int32), each),
        read=read,
        describe=lambda index: names[index // each],
    )
    checked = turns[: 1 + _CROPS].ravel()
    return source, Partition(train=turns[1 + _CROPS :].ravel(), validation=checked[:0], held_out=checked)


def cut(image: Any, draws: Any) -> bytes:
    """A crop at random, as a JPEG file: `draws` are five numbers from 0 to 1."""
    height, width = image.size[::-1]
    side = min(height, width) * (_LEAST_SIDE + (1 - _LEAST_SIDE) * draws[0])
    narrower = _NARROWEST ** draws[1]
    rows, columns = (side, side * narrower) if draws[2] > 0.5 else (side * narrower, side)
    left, top = (width - columns) * draws[3], (height - rows) * draws[4]
    file = io.BytesIO()
    image.crop((round(left), round(top), round(left + columns), round(top + rows))).save(file, "JPEG", quality=_QUALITY)
    return file.getvalue()


@cache
def _open(package: str, file: str) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO(_read_file(package, file))) as opened:
        return opened.convert("RGB")


@cache
def _read_file(package: str, file: str) -> bytes:
    try:
        return (resources.files(package) / file).read_bytes()
    except (ModuleNotFoundError, OSError) as error:
        raise ExportError(
            f"the photograph {file} of {package} cannot be read ({error}): pip install scikit-image scikit-learn, or "
            "give --calibration DIR"
        ) from error
