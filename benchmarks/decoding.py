"""Decoding alone: what reducing large JPEGs while they are decoded saves, over decoding them whole."""

import io
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image

from service.preprocessing import decode as images

TARGET = 224
SIZES = ((640, 427), (1280, 854), (1920, 1280), (4032, 3024))
_TURNS = 15


@dataclass(frozen=True)
class Decoding:
    """Milliseconds to a TARGETxTARGET picture, whole and as the service does it (medians, in turns)."""

    width: int
    height: int
    whole_ms: float
    service_ms: float

    @property
    def ratio(self) -> float:
        return self.whole_ms / self.service_ms


def measure(photo: bytes) -> list[Decoding]:
    """`photo` (an encoded image) enlarged to each of SIZES, on one thread."""
    with Image.open(io.BytesIO(photo)) as opened:
        return [_measure(opened.resize(size), *size) for size in SIZES]


def _measure(picture: Image.Image, width: int, height: int) -> Decoding:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    data = buffer.getvalue()
    ways: tuple[Callable[[bytes], object], ...] = (_whole, _service)
    seconds: tuple[list[float], list[float]] = ([], [])
    for _ in range(_TURNS):
        for way, kept in zip(ways, seconds, strict=True):
            began = time.perf_counter()
            way(data)
            kept.append(time.perf_counter() - began)
    whole, service = (statistics.median(kept) * 1000 for kept in seconds)
    return Decoding(width, height, whole, service)


def _whole(data: bytes) -> object:
    pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=True, fastupsample=False)
    return np.asarray(Image.fromarray(pixels).resize((TARGET, TARGET), Image.Resampling.BILINEAR))


def _service(data: bytes) -> object:
    return images.decode(data, TARGET, TARGET)
