"""EXIF orientation: pixels stand upright as Pillow turns them, and turning costs no memory of the picture's size."""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from service.errors import TooLarge
from service.preprocessing import decode as images
from service.preprocessing.orientation import read_orientation, turn_box_upright, turn_upright
from tests.support.image_matrix import ImageFile, after_start, all_files, exif, segment, turned
from tests.support.images import encode, photo, png_chunk, png_claiming

ORIENTED = [file for file in all_files() if "exif orientation" in file.name and file.name[-1] in "12345678"]


def with_exif(jpeg: bytes, orientation: int) -> bytes:
    return after_start(jpeg, segment(0xE1, b"Exif\0\0" + exif(orientation)))


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in ORIENTED])
def test_pixels_are_those_of_the_file_that_pillow_turns(file: ImageFile) -> None:
    upright = io.BytesIO()
    ImageOps.exif_transpose(Image.open(io.BytesIO(file.data))).convert("RGB").save(upright, "PNG")
    for height, width in ((40, 24), (96, 64), (47, 61)):  # nothing is reduced while it is decoded
        wanted = images.decode(upright.getvalue(), height, width).astype(int)
        difference = np.abs(wanted - images.decode(file.data, height, width))
        # Pillow decodes JPEGs with the accurate DCT instead of the fast one.
        most, average = (20, 2.5) if file.name.startswith("jpeg") else (1, 0.5)
        assert difference.max() <= most and difference.mean() < average


def test_there_are_all_eight_of_every_format_that_has_them() -> None:
    for kind in ("jpeg", "jpeg progressive", "png", "webp"):
        assert sum(file.name.startswith(f"{kind} exif") for file in ORIENTED) == 8


@pytest.mark.parametrize("orientation", range(1, 9))
def test_all_eight_turn_pixels_as_pillow_does(orientation: int) -> None:
    seen = Image.fromarray(photo()[:31, :17])
    np.testing.assert_array_equal(turn_upright(np.asarray(turned(seen, orientation)), orientation), np.asarray(seen))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_turn_as_their_pixels_do(orientation: int) -> None:
    stored = np.zeros((40, 20, 3), np.uint8)
    stored[4:12, 10:15] = 255
    upright = turn_upright(stored, orientation)[..., 0]
    (rows, columns), (height, width) = np.nonzero(upright), upright.shape
    wanted = (rows.min() / height, columns.min() / width, (rows.max() + 1) / height, (columns.max() + 1) / width)
    assert turn_box_upright((4 / 40, 10 / 20, 12 / 40, 15 / 20), orientation) == pytest.approx(wanted)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(1279, 853), (2561, 1707)])
def test_large_photographs_are_reduced_by_their_stored_sides(orientation: int, size: tuple[int, int]) -> None:
    seen = Image.fromarray(photo()).resize(size)
    stored = np.asarray(turned(seen, orientation))
    wanted = images.decode(encode(np.asarray(seen), "JPEG", quality=95), 64, 224).astype(int)
    shown = images.decode(with_exif(encode(stored, "JPEG", quality=95), orientation), 64, 224)
    difference = np.abs(wanted - shown)
    assert difference.mean() < 1.5 and difference.max() <= 20


def growth_of(data: bytes) -> int:
    """Bytes by which this process rose at most while it decoded `data`."""

    def highest() -> int:
        return int(re.findall(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[0]) * 1024

    Path("/proc/self/clear_refs").write_text("5")
    before = highest()
    images.decode(data, 224, 224)
    return highest() - before


def test_turning_takes_no_memory_of_the_pictures_size() -> None:
    jpeg = encode(np.asarray(Image.fromarray(photo()).resize((8064, 6048))), "JPEG")
    images.decode(jpeg, 224, 224)  # what a thread keeps
    assert growth_of(with_exif(jpeg, 6)) < growth_of(jpeg) + 5 * 2**20


@pytest.mark.parametrize("orientation", [1, 6])
def test_limits_hold_for_both_sides(orientation: int) -> None:
    chunk = png_chunk(b"eXIf", exif(orientation))
    for width, height in ((60_000, 8), (8, 60_000), (9_000, 9_000)):
        claiming = png_claiming(width, height)
        with pytest.raises(TooLarge, match=f"{width}x{height}"):
            images.decode(claiming[:33] + chunk + claiming[33:], 224, 224)


def test_a_block_that_leads_anywhere_is_upright() -> None:
    whole = exif(6)
    assert read_orientation(whole) == 6
    for end in range(len(whole) - 4 - 2):  # the last four bytes only point to a next block, the two before fill up
        assert read_orientation(whole[:end]) == 1
    chance = np.random.default_rng(0)
    for _ in range(2000):
        damaged = bytearray(whole)
        damaged[chance.integers(0, len(damaged))] = chance.integers(0, 256)
        assert 1 <= read_orientation(bytes(damaged)) <= 8
