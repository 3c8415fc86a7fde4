"""Small files that claim or cost much: each is refused before it costs anything. By name, a function that makes it."""

import struct
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.support.image_matrix import segment, without
from tests.support.images import encode, photo, png_chunk, write_png


def large(width: int, height: int) -> NDArray[np.uint8]:
    """The photograph in this size."""
    return np.asarray(Image.fromarray(photo()).resize((width, height)))


def png(*chunks: tuple[bytes, bytes], width: int = 8, height: int = 8, kind: int = 0) -> bytes:
    """A gray picture of zeros, one bit a pixel, with these chunks ahead of it."""
    rows = bytes(height * (1 + -(-width // 8)))
    return write_png(width, height, 1, kind, rows, *(png_chunk(*chunk) for chunk in chunks), level=9)


def empty_gif(width: int, height: int, blocks: bytes = b"") -> bytes:
    """A frame of one pixel on a screen of this size."""
    screen = b"GIF89a" + struct.pack("<HHBBB", width, height, 0x80, 0, 0) + bytes(6)
    return screen + blocks + struct.pack("<BHHHHB", 0x2C, 0, 0, 1, 1, 0) + b"\2\2\x44\1\0;"


def run_length(width: int, height: int) -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, 0, 0, 0, 0, 0)
    return b"BM" + struct.pack("<IHHI", 1100, 0, 0, 1078) + header + bytes(1024) + b"\1\5\0\0" * height


def many_scans(width: int, height: int) -> bytes:
    whole = encode(large(width, height), "JPEG", progressive=True, quality=5)
    return whole[:-2] + whole[whole.rindex(b"\xff\xda") : -2] * 85 + whole[-2:]


def scans_of_one_number(width: int, height: int, count: int) -> bytes:
    """Three components that have one number, scans of one each, and bytes enough for so many pixels."""
    whole = encode(np.zeros((8, 8), np.uint8), "JPEG")
    scan = whole.index(b"\xff\xda")
    tables = without(without(whole[:scan], 0xE0), 0xC0)
    frame = struct.pack(">BHHB", 8, height, width, 3) + b"\1\x11\0" * 3
    return tables + segment(0xFE, bytes(60_000)) + segment(0xC0, frame) + whole[scan:-2] * count + whole[-2:]


def png_of_zeros(width: int, height: int, bits: int, colour: int) -> bytes:
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    return write_png(width, height, bits, colour, bytes(height * (1 + width * samples * bits // 8)), level=1)


def many_segments() -> bytes:
    whole = encode(photo(), "JPEG")
    return whole[:2] + b"\xff\xe5\0\2" * 2_000_000 + whole[2:]


BOMBS: dict[str, Callable[[], bytes]] = {
    "one row": lambda: png(width=49_999_999, height=1),
    "one column": lambda: png(width=1, height=49_999_999),
    "a thin row": lambda: png(width=16_000, height=60),
    "50 million pixels in 6 KB": lambda: png(width=7071, height=7071),
    "900 million pixels in 150 KB": lambda: png(width=30_000, height=30_000),
    "a large run-length BMP": lambda: run_length(7071, 7071),
    "a large screen with a tiny frame": lambda: empty_gif(7071, 7071),
    "many small blocks in a GIF": lambda: empty_gif(9, 9, b"\x21\xfe" + b"\1x" * 4_000_000 + b"\0"),
    "many large blocks in a GIF": lambda: empty_gif(9, 9, b"\x21\xfe" + (b"\xff" + b"x" * 255) * 110_000 + b"\0"),
    "many chunks in a PNG": lambda: png(*[(b"prVt", b"")] * 300_000),
    "many segments in a JPEG": many_segments,
    "many scans of a JPEG": lambda: many_scans(3000, 2000),
    "many scans of components of one number": lambda: scans_of_one_number(7000, 7000, 1_500),
    "large pictures in scans of components of one number": lambda: scans_of_one_number(7000, 7000, 3),
    "a flat WebP": lambda: encode(np.zeros((7000, 7000, 3), np.uint8), "WEBP", lossless=True, method=0),
    "RGBA of 16 bits": lambda: png_of_zeros(6000, 5000, 16, 6),
}
