"""Pictures for tests: real ones, and ones that lie."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_sample_image


def encode(pixels: NDArray[np.uint8], kind: str = "PNG", **options: Any) -> bytes:
    """`options` are those of Pillow for the format."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def photo() -> NDArray[np.uint8]:
    """uint8 [427, 640, 3]."""
    pixels: NDArray[np.uint8] = load_sample_image("china.jpg")
    return pixels


PNG_START = b"\x89PNG\r\n\x1a\n"


def png_chunk(name: bytes, content: bytes, crc: int | None = None) -> bytes:
    checksum = zlib.crc32(name + content) if crc is None else crc
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", checksum)


def write_png(
    width: int,
    height: int,
    depth: int,
    colour: int,
    rows: bytes,
    *extra: bytes,
    interlaced: bool = False,
    level: int = -1,
) -> bytes:
    """A PNG by hand: `colour` is PNG's colour type, `rows` have filter bytes, `extra` chunks precede the pixels."""
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, int(interlaced)))
    pixels = png_chunk(b"IDAT", zlib.compress(rows, level))
    return b"".join([PNG_START, header, *extra, pixels, png_chunk(b"IEND", b"")])


def png_claiming(width: int, height: int) -> bytes:
    """A PNG of under a hundred bytes whose header claims this size."""
    return write_png(width, height, 8, 2, b"0")
