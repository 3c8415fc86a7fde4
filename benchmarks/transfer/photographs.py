"""A small photo task: which of twelve packaged photographs a crop is of. Crops to test with are of other regions."""

import io
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from export.data.partition import Partition
from export.data.sources import Source

# Read where they are installed. Licences: CC0 or public domain, say the docstring of each in skimage.data and its
# README; scikit-learn's are CC BY 2.0 (by danielbuechele, Flickr).
FILES = (
    ("skimage.data", "chelsea.png"),
    ("skimage.data", "coffee.png"),
    ("skimage.data", "motorcycle_left.png"),
    ("skimage.data", "rocket.jpg"),
    ("skimage.data", "astronaut.png"),
    ("skimage.data", "hubble_deep_field.jpg"),
    ("skimage.data", "brick.png"),
    ("skimage.data", "grass.png"),
    ("skimage.data", "gravel.png"),
    ("skimage.data", "coins.png"),
    ("sklearn.datasets.images", "china.jpg"),
    ("sklearn.datasets.images", "flower.jpg"),
)

LEARN, CHOOSE, TEST = 36, 4, 40
"""Crops of each photograph: to train on, to choose the best epoch by, and to measure with."""

CELLS = 3
"""A photograph is cut in 3x3 cells, of which crops are parts: every second one to learn from, the others to test."""
LEARN_CELLS = [(row, column) for row in range(CELLS) for column in range(CELLS) if (row + column) % 2 == 0]
TEST_CELLS = [(row, column) for row in range(CELLS) for column in range(CELLS) if (row + column) % 2]
_SIDES = (0.6, 1.0)
"""Of a cell's shorter side: the side of a crop."""
_GAINS, _GAMMAS = (0.7, 1.3), (0.7, 1.4)


def draw_crops(seed: int) -> tuple[Source, Partition]:
    """Square crops at random: of random size, brightness and gamma, mirrored or not, and without colours, which would
    tell these photographs apart alone.
    """
    each = LEARN + CHOOSE + TEST
    names = tuple(Path(file).stem for _, file in FILES)
    draws = np.random.default_rng(seed).random((len(FILES), each, 7))

    def read(index: int) -> bytes:
        photograph, number = divmod(index, each)
        return _cut(open_gray(*FILES[photograph]), number >= LEARN + CHOOSE, draws[photograph, number])

    rows = np.arange(len(FILES) * each).reshape(len(FILES), each)
    source = Source(
        name="crops of photographs",
        labels=names,
        classes=np.repeat(np.arange(len(FILES), dtype=np.int32), each),
        read=read,
        describe=lambda index: f"crop {index % each} of {names[index // each]}",
    )
    return source, Partition(
        train=rows[:, :LEARN].ravel(),
        validation=rows[:, LEARN : LEARN + CHOOSE].ravel(),
        held_out=rows[:, LEARN + CHOOSE :].T.ravel(),
    )


def choose_window(shape: tuple[int, ...], test: bool, draws: Any) -> tuple[int, int, int]:
    """Top, left and side of a crop of a photograph of this [height, width]: `draws` are four numbers from 0 to 1."""
    cells = TEST_CELLS if test else LEARN_CELLS
    cell = np.array(shape) // CELLS
    side = round(cell.min() * _between(_SIDES, draws[0]))
    corner = np.array(cells[int(draws[1] * len(cells))]) * cell + np.rint((cell - side) * draws[2:4])
    return int(corner[0]), int(corner[1]), side


def _cut(pixels: Any, test: bool, draws: Any) -> bytes:
    """A crop of `pixels`, uint8 [height, width], as a PNG file: `draws` are seven numbers from 0 to 1."""
    from PIL import Image

    top, left, side = choose_window(pixels.shape, test, draws[:4])
    crop = pixels[top : top + side, left : left + side] / 255
    crop = np.clip(crop ** _between(_GAMMAS, draws[4]) * _between(_GAINS, draws[5]), 0, 1)
    file = io.BytesIO()
    Image.fromarray(np.rint(255 * (crop[:, ::-1] if draws[6] > 0.5 else crop)).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _between(limits: tuple[float, float], share: float) -> float:
    return limits[0] + (limits[1] - limits[0]) * float(share)


@cache
def open_gray(package: str, file: str) -> Any:
    from PIL import Image

    with Image.open(io.BytesIO((resources.files(package) / file).read_bytes())) as opened:
        return np.asarray(opened.convert("L"))
