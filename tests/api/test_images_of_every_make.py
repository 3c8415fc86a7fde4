"""Files of every format over HTTP: the verdict that `decode` gives, as a status. `test_decode.py` has every make."""

import httpx
import pytest

from tests.support.image_bombs import BOMBS
from tests.support.image_matrix import ImageFile, all_files

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
