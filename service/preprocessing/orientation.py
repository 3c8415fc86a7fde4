"""EXIF orientation: how a camera was held, and pixels turned so that they stand upright.

Read by own code, which looks at one number: a library's reading follows every offset of an EXIF block, and a block of
65,535 entries may point 65,535 times at the same megabyte.
"""

import struct
from collections.abc import Sequence

import numpy as np

from service.types import Pixels

UPRIGHT = 1
_ORIENTATION, _SHORT = 0x0112, 3
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}
_MAX_ENTRIES = 256  # entries are sorted by tag, and TIFF has some twenty tags below this one


def read_orientation(exif: bytes) -> int:
    """1 to 8 as EXIF 2.3 numbers them, from a TIFF block with or without `Exif` ahead; 1 where it names none."""
    block = exif.removeprefix(b"Exif\0\0")
    order = _BYTE_ORDERS.get(block[:4])
    if order is None:
        return UPRIGHT
    try:
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        (count,) = struct.unpack_from(f"{order}H", block, at)
        for entry in range(min(count, _MAX_ENTRIES)):
            tag, kind, values, value = struct.unpack_from(f"{order}HHIH", block, at + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else UPRIGHT
    except struct.error:  # the block is cut, or its offsets lead out of it
        return UPRIGHT
    return UPRIGHT


def swap_sides(orientation: int) -> bool:
    """True where the stored rows are the upright image's columns."""
    return orientation >= 5


def turn_upright(pixels: Pixels, orientation: int) -> Pixels:
    """uint8 [rows, columns, 3] as stored -> as seen: [columns, rows, 3] where `swap_sides`."""
    if orientation == UPRIGHT:
        return pixels
    turned = pixels.swapaxes(0, 1) if swap_sides(orientation) else pixels
    if orientation in (3, 4, 7, 8):
        turned = turned[::-1]
    if orientation in (2, 3, 6, 7):
        turned = turned[:, ::-1]
    return np.ascontiguousarray(turned)


def turn_box_upright(box: Sequence[float], orientation: int) -> tuple[float, float, float, float]:
    """Top, left, bottom and right as shares of the stored image -> of the upright one."""
    top, left, bottom, right = box
    if swap_sides(orientation):
        top, left, bottom, right = left, top, right, bottom
    if orientation in (3, 4, 7, 8):
        top, bottom = 1 - bottom, 1 - top
    if orientation in (2, 3, 6, 7):
        left, right = 1 - right, 1 - left
    return top, left, bottom, right
