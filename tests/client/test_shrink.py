"""Images made smaller before they are sent: what stays as it is, how the others look, what the model says of them."""

import io
from importlib import resources
from typing import Any

import numpy as np
import pytest
from PIL import Image

from image_model_client import Client, images
from service.preprocessing.decode import decode
from tests.support.images import encode, photo
from tests.support.scripted_http import Answer, scripted

_EXIF_ORIENTATION = 0x0112
_WIDTH, _HEIGHT = 64, 48


def read_size(data: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(data)).size


def draw(width: int, height: int) -> Any:
    """The photograph in another size."""
    return np.asarray(Image.fromarray(photo()).resize((width, height)))


def test_a_large_image_keeps_twice_the_models_rows_and_columns() -> None:
    small = images.shrink(encode(photo(), "JPEG"), _WIDTH, _HEIGHT)
    assert read_size(small) == (2 * _WIDTH, 2 * _HEIGHT)


@pytest.mark.parametrize(
    ("size", "wanted"),
    [((1000, 90), (128, 90)), ((90, 1000), (90, 96)), ((1000, 1000), (128, 96)), ((260, 96), (128, 96))],
)
def test_each_side_shrinks_by_itself(size: tuple[int, int], wanted: tuple[int, int]) -> None:
    assert read_size(images.shrink(encode(draw(*size)), _WIDTH, _HEIGHT)) == wanted


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("width", [20, 128, 250])
def test_an_image_that_is_not_twice_as_large_is_sent_as_it_is(kind: str, width: int) -> None:
    data = encode(draw(width, 96), kind)
    assert images.shrink(data, _WIDTH, _HEIGHT) is data


@pytest.mark.parametrize(
    "data",
    [b"", b"text", encode(photo(), "JPEG")[:5000], encode(draw(300, 300)[..., 0].astype(np.uint16) * 257)],
    ids=["nothing", "text", "half a JPEG", "16 bits"],
)
def test_what_the_service_must_see_itself_is_sent_as_it_is(data: bytes) -> None:
    assert images.shrink(data, _WIDTH, _HEIGHT) is data


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_photograph_that_lies_on_its_side_is_seen_as_before(kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = orientation
    data = encode(photo(), kind, exif=exif)
    small = images.shrink(data, _WIDTH, _HEIGHT)
    assert len(small) < len(data) and read_size(small) == (2 * _WIDTH, 2 * _HEIGHT)
    before, after = (decode(each, _HEIGHT, _WIDTH).astype(int) for each in (data, small))
    assert np.abs(before - after).mean() < 4  # upside down it is some 80


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA"])
def test_pixels_stay_near_what_the_service_sees_of_the_original(mode: str) -> None:
    file = io.BytesIO()
    Image.fromarray(photo()).convert(mode).save(file, "PNG")
    small = images.shrink(file.getvalue(), _WIDTH, _HEIGHT)
    before, after = (decode(each, _HEIGHT, _WIDTH).astype(int) for each in (file.getvalue(), small))
    assert np.abs(before - after).mean() < 4


@pytest.mark.parametrize("file", ["coffee.png", "chelsea.png", "motorcycle_left.png", "rocket.jpg"])
def test_answers_agree_on_photographs(client: Client, file: str) -> None:
    data = (resources.files("skimage.data") / file).read_bytes()
    before = client.predict("efficientnet_lite0", data)
    after = client.predict("efficientnet_lite0", data, shrink=True)
    assert after.label == before.label
    assert after.probability == pytest.approx(before.probability, abs=0.1)


def test_the_models_size_is_asked_once_and_few_bytes_are_sent() -> None:
    described = Answer(body=b'{"manifest": {"preprocessing": {"width": 64, "height": 48}}}')
    with scripted(described, Answer(404)) as service, Client(service.url) as client:
        list(client.predict_many("m", [encode(photo())] * 3, shrink=True, concurrency=1))
        assert [path for path, _ in service.asked] == ["/models/m"] + ["/predict/m?top_k=5"] * 3
        assert all(int(headers["Content-Length"]) < 30_000 for _, headers in service.asked[1:])


@pytest.mark.parametrize("described", [Answer(404), Answer(body=b"{}"), Answer(body=b'{"manifest": {}}')])
def test_what_nobody_describes_is_sent_whole(described: Answer) -> None:
    data = encode(photo())
    with scripted(described, Answer(400)) as service, Client(service.url) as client:
        list(client.predict_many("m", [data], shrink=True))
        assert int(service.asked[-1][1]["Content-Length"]) == len(data)
