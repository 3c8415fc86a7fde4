"""Files of every format over HTTP: the verdict that `decode` gives, as a status. `test_decode.py` has every make."""

import io

import httpx
import numpy as np
import pytest
from PIL import Image

from tests.support.image_bombs import BOMBS
from tests.support.image_matrix import ImageFile, all_files, exif, turned
from tests.support.images import encode, png_chunk

ONE_OF_EACH = {(file.name.split()[0], file.verdict): file for file in all_files()}


@pytest.mark.parametrize("file", [pytest.param(file, id=file.name) for file in ONE_OF_EACH.values()])
def test_a_file_is_answered_or_refused_with_the_words_of_the_table(client: httpx.Client, file: ImageFile) -> None:
    reply = client.post("/predict/lenet5", content=file.data, headers={"content-type": "application/octet-stream"})
    if file.accepted:
        assert reply.status_code == 200, reply.text
    else:
        assert reply.status_code == 400 and file.says in reply.json()["error"]["message"], reply.text


@pytest.mark.parametrize("bomb", ["50 million pixels in 6 KB", "many segments in a JPEG", "many scans of a JPEG"])
def test_a_bomb_is_its_sender_s_error(client: httpx.Client, bomb: str) -> None:
    reply = client.post("/predict/lenet5", content=BOMBS[bomb](), headers={"content-type": "application/octet-stream"})
    assert reply.status_code == 413, reply.text
    assert client.get("/healthz").status_code == 200


def test_a_turned_photograph_is_answered_as_its_upright_file(client: httpx.Client, samples: dict[str, bytes]) -> None:
    upright = np.asarray(Image.open(io.BytesIO(samples["7"])).convert("RGB"))

    def ask(data: bytes) -> list[float]:
        reply = client.post("/predict/lenet5?top_k=10", content=data)
        assert reply.status_code == 200, reply.text
        ranked = reply.json()["predictions"][0]["top_k"]
        return [each["probability"] for each in sorted(ranked, key=lambda each: each["label"])]

    wanted = ask(encode(upright))
    for orientation in range(2, 9):
        stored = encode(np.asarray(turned(Image.fromarray(upright), orientation)))
        told = stored[:33] + png_chunk(b"eXIf", exif(orientation)) + stored[33:]
        np.testing.assert_allclose(ask(told), wanted, atol=0.02)
        assert np.abs(np.subtract(ask(stored), wanted)).max() > 0.02, "the test shows something"
