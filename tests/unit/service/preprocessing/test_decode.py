"""Decoding beside the graph: the same pixels, and clear errors for everything that is no image."""

import gc
import io
import os
import struct
import time
import zlib
from collections.abc import Callable
from contextlib import suppress
from functools import cache

import numpy as np
import pytest
from PIL import Image

from service.errors import InvalidInput, TooLarge
from service.host import processes
from service.preprocessing import decode as images
from tests.support import procfs
from tests.support.image_bombs import BOMBS, png, png_of_zeros, scans_of_one_number
from tests.support.image_matrix import ImageFile, Verdict, all_files
from tests.support.images import photo, png_claiming

PHOTO = Image.fromarray(photo())


def encode(picture: Image.Image, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


JPEG = encode(PHOTO, "JPEG", quality=85)
PNG = encode(PHOTO, "PNG")


def in_graph(data: bytes, height: int, width: int) -> np.ndarray:
    import tensorflow as tf

    picture = tf.io.decode_image(data, channels=3, expand_animations=False)
    resized = tf.image.resize(tf.cast(picture, tf.float32), (height, width), antialias=True)
    return np.asarray(tf.saturate_cast(tf.round(resized), tf.uint8))


@pytest.mark.parametrize("size", [(224, 224), (300, 500)])
@pytest.mark.parametrize(
    "data",
    [
        pytest.param(JPEG, id="jpeg"),
        pytest.param(encode(PHOTO, "JPEG", quality=40, subsampling=0), id="jpeg 4:4:4"),
        pytest.param(encode(PHOTO, "JPEG", progressive=True), id="jpeg progressive"),
        pytest.param(encode(PHOTO.convert("L"), "JPEG"), id="jpeg gray"),
        pytest.param(PNG, id="png"),
        pytest.param(encode(PHOTO.convert("L"), "PNG"), id="png gray"),
        pytest.param(encode(PHOTO.convert("RGBA"), "PNG"), id="png alpha"),
        pytest.param(encode(PHOTO.convert("P"), "PNG"), id="png palette"),
        pytest.param(
            encode(Image.fromarray(np.asarray(PHOTO.convert("L")).astype(np.uint16) * 257), "PNG"), id="png 16"
        ),
        pytest.param(encode(PHOTO, "BMP"), id="bmp"),
    ],
)
def test_pixels_agree_with_the_graph(data: bytes, size: tuple[int, int]) -> None:
    difference = np.abs(in_graph(data, *size).astype(int) - images.decode(data, *size))
    assert difference.max() <= 2 and difference.mean() < 0.5


def files(*verdicts: Verdict) -> list[object]:
    return [pytest.param(file, id=file.name) for file in all_files() if file.verdict in verdicts]


@pytest.mark.parametrize("file", files(Verdict.ACCEPTED))
def test_files_of_every_make_agree_with_the_graph(file: ImageFile) -> None:
    for size in ((20, 24), (96, 96)):
        difference = np.abs(in_graph(file.data, *size).astype(int) - images.decode(file.data, *size))
        assert difference.max() <= 2 and difference.mean() < 0.5


@pytest.mark.parametrize("file", files(Verdict.BESIDE_THE_GRAPH))
def test_files_that_the_graph_cannot_follow_are_the_picture_all_the_same(file: ImageFile) -> None:
    """Within what a palette or five bits a colour leave of it: no second frame, no palette's indexes."""
    shown = images.decode(file.data, 20, 24)
    if "offset" not in file.name:
        wanted = images.decode(by_name("png rgb 8 bit").data, 20, 24)
        levels = np.abs(shown.astype(int) - wanted).mean()
        assert levels < (90 if " 1 bit" in file.name else 25 if " 4 bit" in file.name else 8)
    try:
        seen = in_graph(file.data, 20, 24)
    except Exception:  # as expected of most
        return
    assert np.abs(seen.astype(int) - shown).mean() > 2, "the graph follows: this file belongs to those that all accept"


@pytest.mark.parametrize("file", files(Verdict.REFUSED))
def test_what_one_side_refuses_the_graph_refuses_too(file: ImageFile) -> None:
    with pytest.raises(InvalidInput, match=file.says):
        images.decode(file.data, 20, 24)
    with pytest.raises(Exception):  # noqa: B017 - TensorFlow raises several
        in_graph(file.data, 20, 24)


def by_name(name: str) -> ImageFile:
    return next(file for file in all_files() if file.name == name)


@pytest.mark.parametrize("size", [(28, 28), (48, 64), (96, 96), (224, 224)])
@pytest.mark.parametrize("photo_size", [(640, 427), (1279, 853), (2561, 1707), (300, 3000)])
@pytest.mark.parametrize("subsampling", [0, 2])
def test_large_photographs_reduced_while_decoding_agree_too(
    photo_size: tuple[int, int], size: tuple[int, int], subsampling: int
) -> None:
    """Odd sizes: a last row that the reduction fills up must not shift the others."""
    data = encode(PHOTO.resize(photo_size), "JPEG", quality=85, subsampling=subsampling)
    difference = np.abs(in_graph(data, *size).astype(int) - images.decode(data, *size))
    assert difference.mean() < 1.5 and difference.max() <= 20


@pytest.mark.parametrize("size", [(28, 28), (224, 224), (500, 700)])
@pytest.mark.parametrize("covered", [(427.0, 640.0), (426.5, 639.5)])
def test_where_there_is_no_simd_pillow_resizes_alike(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], covered: tuple[float, float]
) -> None:
    if images.fast is None:
        pytest.skip("there is no wheel of cykooz-resizer for this machine")
    pixels = np.dstack([photo(), np.zeros_like(photo()[..., :1])])
    quick = images.resized(pixels, *size, covered)
    monkeypatch.setattr(images, "fast", None)
    slow = images.resized(pixels, *size, covered)
    assert quick.shape == slow.shape == (*size, 3)
    assert np.abs(quick.astype(int) - slow).max() <= 1


@pytest.mark.parametrize("size", [(224, 224), (PHOTO.height, PHOTO.width)])
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_the_next_image_of_a_thread_leaves_the_last_one_as_it_was(mode: str, size: tuple[int, int]) -> None:
    """They are decoded into the same memory."""
    first = images.decode(encode(PHOTO.convert(mode), "JPEG"), *size)
    kept = first.copy()
    images.decode(encode(Image.new("RGB", PHOTO.size), "JPEG"), *size)
    assert (first == kept).all()


@pytest.mark.parametrize("mode", ["RGB", "CMYK", "L"])
def test_a_jpeg_that_breaks_off_shows_nothing_of_the_last_one(mode: str) -> None:
    """libjpeg warns of it first: turbojpeg then calls the end of decoding a warning too, with no pixel written."""
    broken = bytearray(encode(PHOTO.convert(mode), "JPEG", progressive=True))
    middle = broken.index(b"\xff\xda") + 400
    broken[middle : middle + 2] = b"\xff\xf4"  # a marker that nobody knows
    images.decode(encode(PHOTO.convert(mode), "JPEG"), 224, 224)
    with pytest.raises(InvalidInput, match="JPEG cannot be decoded"):
        images.decode(bytes(broken), 224, 224)


def test_a_damaged_image_shows_nothing_of_the_one_before_it() -> None:
    damaged = JPEG[: len(JPEG) // 2] + b"\xff\xd9"
    shown = []
    for colour in ("white", "black"):
        images.decode(encode(Image.new("RGB", PHOTO.size, colour), "JPEG"), 224, 224)
        shown.append(images.decode(damaged, 224, 224))
    assert (shown[0] == shown[1]).all()


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    assert (images.decode(PNG, PHOTO.height, PHOTO.width) == np.asarray(PHOTO)).all()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"hello, I am text", "no JPEG, PNG", id="text"),
        pytest.param(JPEG[: len(JPEG) // 2], "whole", id="half a jpeg"),
        pytest.param(JPEG[:30], "whole", id="a jpeg header"),
        pytest.param(JPEG[:-300], "whole", id="a jpeg without its end"),
        pytest.param(b"\xff\xd8\xff" + b"text" * 20, "whole", id="text dressed as a jpeg"),
        pytest.param(PNG[: len(PNG) // 2], "whole", id="half a png"),
        pytest.param(PNG[:20], "whole", id="a png header"),
    ],
)
def test_what_is_no_image_says_so(data: bytes, says: str) -> None:
    with pytest.raises(InvalidInput, match=says):
        images.decode(data, 224, 224)


@pytest.mark.parametrize("data", [png_claiming(60_000, 60_000), png_claiming(9_000, 9_000)])
def test_a_small_file_cannot_claim_a_huge_picture(data: bytes) -> None:
    assert len(data) < 100
    with pytest.raises(TooLarge, match="pixels"):
        images.decode(data, 224, 224)


@pytest.mark.parametrize("start", range(4))
def test_any_damage_is_an_error_or_an_image_never_a_crash(start: int) -> None:
    """Bytes changed, parts left out and parts twice, in files of every make."""
    chance = np.random.default_rng(start)
    for file in all_files()[start::4]:
        if not file.data or len(file.data) > 100_000:
            continue
        for turn in range(12):
            data = bytearray(file.data)
            for position in chance.integers(0, min(len(data), 600 if turn % 2 else len(data)), 1 + turn):
                data[position] = chance.integers(0, 256)
            begin, end = sorted(chance.integers(0, len(data), 2))
            if turn % 3 == 1:
                del data[begin:end]
            if turn % 3 == 2:
                data[begin:begin] = data[begin:end]
            with suppress(InvalidInput, TooLarge):
                assert images.decode(bytes(data), 32, 32).shape == (32, 32, 3)


@pytest.mark.parametrize("name", ["jpeg baseline", "jpeg progressive", "png rgb 8 bit", "bmp 24 bit", "webp lossy"])
def test_a_file_that_ends_early_is_refused_wherever_it_ends(name: str) -> None:
    data = by_name(name).data
    for end in range(1, len(data) - 1, 7):
        with pytest.raises(InvalidInput):
            images.decode(data[:end], 32, 32)


def growth(work: Callable[[], object]) -> int:
    """By how many bytes this process rose at most meanwhile."""

    gc.collect()
    gc.freeze()  # what is left are modules, which the next collection need not visit: 0.3 s each time
    procfs.restart_peak(os.getpid())
    before = processes.peak_mb()
    work()
    return int((processes.peak_mb() - before) * 1e6)


@cache
def explosive() -> bytes:
    """150 MB in 150 kB."""
    return zlib.compress(bytes(150_000_000), 9)


@pytest.mark.parametrize(
    ("name", "start"),
    [
        pytest.param(b"iCCP", b"profile\0\0", id="colour profile"),
        pytest.param(b"zTXt", b"Comment\0\0", id="text"),
        pytest.param(b"iTXt", b"Comment\0\1\0en\0\0", id="international text"),
    ],
)
def test_what_lies_beside_the_pixels_does_not_explode(name: bytes, start: bytes) -> None:
    data = png((name, start + explosive()))

    def decode() -> None:
        with suppress(InvalidInput):
            images.decode(data, 32, 32)

    assert growth(decode) < 50 * 2**20


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_bomb_is_refused_before_it_costs_anything(bomb: str) -> None:
    data = BOMBS[bomb]()

    def decode() -> None:
        with pytest.raises((TooLarge, InvalidInput)):
            images.decode(data, 224, 224)

    began = time.process_time()
    assert growth(decode) < 20 * 2**20
    assert time.process_time() - began < 0.5


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda: png_of_zeros(3840, 2160, 8, 6), id="an empty 4K screenshot with alpha"),
        pytest.param(lambda: png_of_zeros(4960, 3508, 8, 0), id="an empty gray page of 300 dots an inch, both sides"),
        pytest.param(lambda: encode(PHOTO.resize((4032, 3024)), "JPEG", quality=92), id="12 million pixels"),
        pytest.param(lambda: encode(PHOTO.resize((8064, 6048)), "JPEG", quality=85), id="48 million pixels"),
        pytest.param(
            lambda: encode(PHOTO.resize((4032, 3024)), "JPEG", progressive=True), id="12 million, progressive"
        ),
        pytest.param(lambda: encode(PHOTO.resize((3600, 2700)), "WEBP", method=0), id="10 million as WebP"),
        pytest.param(lambda: encode(PHOTO.resize((1170, 16_000)), "JPEG"), id="a long page of a telephone"),
    ],
)
def test_what_telephones_cameras_and_screens_make_is_let_in(make: Callable[[], bytes]) -> None:
    assert images.decode(make(), 224, 224).shape == (224, 224, 3)


def test_a_gif_frame_larger_than_its_screen_is_refused() -> None:
    data = bytearray(encode(PHOTO.convert("P"), "GIF"))
    data[6:10] = struct.pack("<HH", 1, 1)  # the screen
    frame = data.index(b"\x2c\0\0\0\0")
    data[frame + 5 : frame + 9] = struct.pack("<HH", 60_000, 60_000)
    with pytest.raises(TooLarge):
        images.decode(bytes(data), 32, 32)


def test_a_jpeg_of_very_many_scans_is_refused_at_once() -> None:
    """Each costs 50 bytes and a pass over all of the picture: 200 kB would take half a minute."""
    whole = encode(PHOTO.convert("L").resize((6000, 6000)), "JPEG", progressive=True, quality=5)
    last = whole[whole.rindex(b"\xff\xda") : -2]
    started = time.monotonic()
    for thumbnail in (b"", b"\xff\xe1" + struct.pack(">H", len(JPEG[:60_000]) + 2) + JPEG[:60_000]):
        bomb = b"\xff\xd8" + thumbnail + whole[2:-2] + last * 1000 + b"\xff\xd9"
        with pytest.raises(TooLarge, match=r"scans|ms to decode"):
            images.decode(bomb, 32, 32)
    assert time.monotonic() - started < 5


def test_quick_is_a_jpeg_of_few_pixels_in_one_pass() -> None:
    assert images.read_quick(JPEG)
    progressive, large = encode(PHOTO, "JPEG", progressive=True), encode(PHOTO.resize((1000, 1000)), "JPEG")
    scans = scans_of_one_number(640, 480, 3)
    for other in (b"", b"\xff\xd8\xff", JPEG[:30], encode(PHOTO, "PNG"), progressive, large, scans):
        assert not images.read_quick(other)


def test_tiny_is_an_image_of_few_pixels_and_bytes_in_any_format() -> None:
    tiny = PHOTO.resize((28, 28))
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP"):
        assert images.read_tiny(encode(tiny, form)) and not images.read_tiny(encode(PHOTO, form))
    for other in (b"", JPEG[:30], encode(Image.new("L", (65, 64)), "PNG"), encode(tiny, "PNG") + bytes(8192)):
        assert not images.read_tiny(other)
