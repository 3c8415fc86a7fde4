"""Decoding: where it runs, what nobody waits for is not decoded, and a thread that still works is not free."""

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from service.errors import InvalidInput, Overloaded, TooLarge
from service.preprocessing import decode as images
from service.preprocessing.limits import DEFAULT_LIMITS, ImageLimits
from service.preprocessing.memory import DecodingMemory
from service.preprocessing.preprocessor import Limits, Preparation
from service.repository.manifest import Manifest, Preprocessing, Signature, TensorSpec
from service.settings import Settings
from service.types import PredictRequest, strings
from tests.support.images import encode, photo

MANIFEST = Manifest(
    "m",
    1,
    {
        "serving_default": Signature({"bytes": TensorSpec("string", (None,))}, {"y": TensorSpec("float32", (None, 2))}),
        "image": Signature({"image": TensorSpec("uint8", (None, 8, 8, 3))}, {"y": TensorSpec("float32", (None, 2))}),
    },
    preprocessing=Preprocessing(8, 8),
    checked=True,
)
IMAGE = encode(photo(), "JPEG")
ASIDE = encode(photo(), "JPEG", progressive=True)
TINY = encode(np.full((28, 28, 3), 7, np.uint8))  # a PNG
LARGE = encode(np.tile(photo(), (2, 2, 1)), "JPEG")


def request(*encoded: bytes) -> PredictRequest:
    return PredictRequest({"": strings(list(encoded))})


@pytest.fixture
def preparation() -> Iterator[Preparation]:
    preparation = Preparation(Limits(1000, 10 * len(IMAGE)), threads=1)
    yield preparation
    preparation.close()


async def test_images_come_out_in_their_order(preparation: Preparation) -> None:
    dark, light = (encode(np.full((9, 9, 3), value, np.uint8)) for value in (10, 200))
    run = await preparation.prepare(MANIFEST, request(dark, light, dark))
    assert run.signature == "image" and run.inputs["image"].shape == (3, 8, 8, 3)
    assert run.inputs["image"][:, 0, 0, 0].tolist() == [10, 200, 10]


OPEN = Manifest(
    "m", 1, {"serving_default": Signature({"x": TensorSpec("uint8", (None, None, None, 3))}, {})}, definitions={"": b""}
)


async def test_a_graph_of_open_sides_gets_photos_as_large_as_they_are(preparation: Preparation) -> None:
    wide = encode(photo()[:40, :64])
    run = await preparation.prepare(OPEN, request(wide, wide))
    np.testing.assert_array_equal(run.inputs["x"], np.stack([photo()[:40, :64]] * 2))
    large = encode(np.full((1000, images.LONGEST_SIDE * 2, 3), 7, np.uint8))
    run = await preparation.prepare(OPEN, request(large))
    assert run.inputs["x"].shape == (1, 500, images.LONGEST_SIDE, 3)
    with pytest.raises(InvalidInput, match=r"images of one size in a request, got \['64x40', '64x41'\]"):
        await preparation.prepare(OPEN, request(wide, encode(photo()[:41, :64])))


async def test_a_graph_of_one_image_is_sent_one(preparation: Preparation) -> None:
    one = Manifest("m", 1, {"serving_default": Signature({"x": TensorSpec("uint8", (1, 20, 30, 3))}, {})})
    assert (await preparation.prepare(one, request(IMAGE))).inputs["x"].shape == (1, 20, 30, 3)
    with pytest.raises(InvalidInput, match="takes 1 image a request, got 2"):
        await preparation.prepare(one, request(IMAGE, IMAGE))


async def test_one_bad_image_spares_the_others_the_decoding(
    preparation: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    real = images.decode

    def counting(data: bytes, *limits: Any) -> object:
        decoded.append(len(data))
        return real(data, *limits)

    monkeypatch.setattr(images, "decode", counting)
    with pytest.raises(InvalidInput) as refused:
        await preparation.prepare(MANIFEST, request(b"no image", *[IMAGE] * 9))
    assert refused.value.detail["row"] == 0
    await preparation.prepare(MANIFEST, request(IMAGE))  # after whatever was under way
    assert len(decoded) <= 3, "the bad one, at most one that had begun, and the last"


async def test_a_thread_that_still_works_for_nobody_is_not_free(
    preparation: Preparation, monkeypatch: pytest.MonkeyPatch
) -> None:
    began, go_on = threading.Event(), threading.Event()
    at_once: list[int] = []
    real = images.decode

    def stuck(data: bytes, *limits: Any) -> object:
        at_once.append(len(at_once))
        began.set()
        go_on.wait(10)
        return real(data, *limits)

    monkeypatch.setattr(images, "decode", stuck)
    left = asyncio.create_task(preparation.prepare(MANIFEST, request(ASIDE)))
    await asyncio.to_thread(began.wait, 10)
    left.cancel()
    with pytest.raises(asyncio.CancelledError):
        await left
    others = [asyncio.create_task(preparation.prepare(MANIFEST, request(ASIDE))) for _ in range(2)]
    await asyncio.sleep(0.05)
    assert len(at_once) == 1 and not any(other.done() for other in others)
    go_on.set()
    await asyncio.wait_for(asyncio.gather(*others), 10)


async def test_what_waits_to_be_decoded_is_bounded_in_bytes(preparation: Preparation) -> None:
    full = asyncio.create_task(preparation.prepare(MANIFEST, request(*[IMAGE] * 10)))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match="wait to be decoded"):
        await preparation.prepare(MANIFEST, request(IMAGE))
    await full
    await preparation.prepare(MANIFEST, request(IMAGE))


@pytest.mark.parametrize(
    ("encoded", "threads", "here"),
    [
        ([IMAGE], 1, True),
        ([IMAGE], 2, False),
        ([IMAGE, IMAGE], 1, False),
        ([ASIDE], 1, False),
        ([LARGE], 1, False),
        ([encode(photo(), "PNG")], 1, False),
        ([TINY], 2, True),
        ([TINY, TINY], 2, False),
    ],
    ids=["one small JPEG", "two cores", "several", "progressive", "large", "PNG", "tiny", "several tiny"],
)
async def test_a_tiny_image_needs_no_thread_and_with_one_core_a_small_jpeg_neither(
    monkeypatch: pytest.MonkeyPatch, encoded: list[bytes], threads: int, here: bool
) -> None:
    where = []
    real = images.decode

    def seen(data: bytes, *limits: Any, **known: Any) -> object:
        where.append(threading.current_thread() is threading.main_thread())
        return real(data, *limits, **known)

    monkeypatch.setattr(images, "decode", seen)
    preparation = Preparation(Limits(1000, 10_000_000), threads)
    await preparation.prepare(MANIFEST, request(*encoded))
    preparation.close()
    assert where == [here] * len(encoded)


async def test_a_broken_jpeg_takes_no_place_for_good(preparation: Preparation) -> None:
    for _ in range(3):
        with pytest.raises(InvalidInput):
            await preparation.prepare(MANIFEST, request(IMAGE[: len(IMAGE) // 2]))
    await asyncio.wait_for(preparation.prepare(MANIFEST, request(IMAGE)), 10)


@pytest.mark.parametrize("count", [1, 2])
async def test_what_was_refused_needs_no_collection(preparation: Preparation, count: int) -> None:
    refused = request(*[b"\x89PNG\r\n\x1a\n"] * count)
    left = weakref.ref(refused.inputs[""])
    gc.disable()
    try:
        with pytest.raises(InvalidInput):
            await preparation.prepare(MANIFEST, refused)
        del refused
        async with asyncio.timeout(5):
            while left() is not None:  # the other image's task has to end first
                await asyncio.sleep(0.01)
    finally:
        gc.enable()


async def test_images_wait_for_memory_that_others_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two cores, and memory for one: the second image is decoded when the first is done, and none is refused."""
    png = encode(np.tile(photo(), (2, 2, 1)))
    held, most = [0, 0], threading.Event()
    real = images._decode_by_pillow
    lock = threading.Lock()

    def counting(*given: Any) -> Any:
        with lock:
            held[0] += 1
            held[1] = max(held)
        most.wait(0.2)  # long enough for another thread to come in, were it let in
        try:
            return real(*given)
        finally:
            with lock:
                held[0] -= 1

    monkeypatch.setattr(images, "_decode_by_pillow", counting)
    needed = 5 * 2 * 427 * 2 * 640 + len(png)
    preparation = Preparation(Limits(1000, 100_000_000, max_memory=needed), threads=2)
    try:
        run = await asyncio.wait_for(preparation.prepare(MANIFEST, request(png, png, png)), 30)
    finally:
        preparation.close()
    assert len(run.inputs["image"]) == 3 and held == [0, 1]


async def test_an_image_that_never_fits_is_too_large() -> None:
    preparation = Preparation(Limits(1000, 100_000_000, max_memory=1_000_000), threads=2)
    try:
        with pytest.raises(TooLarge, match="MB to decode"):
            await preparation.prepare(MANIFEST, request(encode(photo())))
        await preparation.prepare(MANIFEST, request(encode(photo()[:64, :64])))
    finally:
        preparation.close()


async def test_many_small_files_of_large_pictures_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thousand files of 34 bytes: each passes, and all of them would hold the cores for a minute."""
    flat = encode(np.zeros((1000, 1000, 3), np.uint8), "WEBP", lossless=True)
    assert len(flat) < 100
    decoded = []
    real = images.decode

    def counting(*given: Any) -> Any:
        decoded.append(1)
        return real(*given)

    monkeypatch.setattr(images, "decode", counting)
    preparation = Preparation(Limits(1000, 100_000_000, image=ImageLimits(max_milliseconds=20)), threads=2)
    try:
        with pytest.raises(TooLarge, match="send fewer images per request"):
            await preparation.prepare(MANIFEST, request(*[flat] * 1000))
        assert len(decoded) < 500
        await preparation.prepare(MANIFEST, request(flat, flat))
    finally:
        preparation.close()


def test_images_have_the_same_limits_without_flags_as_with_their_defaults() -> None:
    names = ("max_pixels", "max_image_side", "max_decode_ms")
    assert ImageLimits(*(Settings.model_fields[name].default for name in names)) == DEFAULT_LIMITS


def test_a_large_share_is_not_overtaken_by_small_ones() -> None:
    memory, order = DecodingMemory(100), []
    inside, leave = threading.Event(), threading.Event()

    def hold(name: str, size: int) -> None:
        with memory.share(size):
            order.append(name)
            if name == "first":
                inside.set()
                leave.wait(10)

    first = threading.Thread(target=hold, args=("first", 60))
    first.start()
    assert inside.wait(10)
    large = threading.Thread(target=hold, args=("large", 80))
    large.start()
    while not memory._line.locked():  # it stands in line
        threading.Event().wait(0.001)
    small = threading.Thread(target=hold, args=("small", 10))
    small.start()
    leave.set()
    for thread in (first, large, small):
        thread.join(10)
    assert order == ["first", "large", "small"]
