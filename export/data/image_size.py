"""At what size a network is trained that has no weights yet: one that the images have."""

import math

from export.architectures.architecture import Architecture
from export.data import sources
from export.errors import ExportError
from service.errors import ServiceError

_SMALLEST = 64
"""Below it, networks that halve their maps five times have a single place left that sees anything."""

_STEP = 32
_LOOKED_AT = 25
_DIGITS = 32


def choose(architecture: Architecture, data: str) -> int:
    """Height and width for images, `data` as `sources.find` takes it: the network's own, or less for smaller ones.

    By the shorter sides of some of them. Raises UsageError where `data` is no source of images.
    """
    side = _DIGITS if data == sources.DIGITS else _measure(data)
    fitting = max(_SMALLEST, architecture.smallest_size, math.ceil(side / _STEP) * _STEP)
    return min(architecture.input_size, fitting)


def describe(architecture: Architecture, size: int) -> str:
    """Says that the size was lowered, and what may do better; empty where it was not."""
    own = architecture.input_size
    if size >= own:
        return ""
    weights = ", given --weights" if architecture.pretrained is not None else ""
    return (
        f"the images are small and there are no weights to start from, so {size}x{size} is its size; more may come of "
        f"--image-size {own}, its own size (about {round((own / size) ** 2)} times the time){weights}, or more images"
    )


def _measure(data: str) -> int:
    import numpy as np

    from service.preprocessing.headers import read_header  # only here: it imports Pillow

    source = sources.find(data)
    places = np.linspace(0, len(source.classes) - 1, min(_LOOKED_AT, len(source.classes))).round().astype(int)
    sides = []
    for place in places.tolist():
        try:
            header = read_header(source.read(place))
        except (ServiceError, ExportError):  # reading all of them says so
            continue
        sides.append(min(header.width, header.height))
    return int(np.median(sides)) if sides else _SMALLEST
