"""Bodies in gzip and deflate: read by every API, bombs refused at little cost."""

import gzip
import json
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import httpx
import pytest

from tests.support.raw_http import MAX_BODY, growth
from tests.support.service_process import Service

pytestmark = pytest.mark.usefixtures("nobody_else_is_harmed")


def _gzip(data: bytes) -> bytes:
    """Without the time: it would be in the tests' names, which workers compare."""
    return gzip.compress(data, mtime=0)


def post(limited: Service, path: str, body: bytes, encoding: str, kind: str = "application/json") -> httpx.Response:
    headers = {"content-encoding": encoding, "content-type": kind}
    return httpx.post(f"{limited.url}{path}", content=body, headers=headers, timeout=60)


def raw_deflate(data: bytes) -> bytes:
    compress = zlib.compressobj(wbits=-15)
    return compress.compress(data) + compress.flush()


@pytest.mark.parametrize(
    ("encoding", "compress"),
    [
        ("gzip", _gzip),
        ("x-gzip", _gzip),
        ("GZIP", _gzip),
        ("identity, gzip", _gzip),
        ("deflate", zlib.compress),
        ("deflate", raw_deflate),  # what some clients take deflate for
        ("gzip", lambda data: _gzip(data[:100]) + _gzip(data[100:])),
        ("identity", lambda data: data),
    ],
)
def test_compressed_images_are_images(
    limited: Service, digit: bytes, encoding: str, compress: Callable[[bytes], bytes]
) -> None:
    reply = post(limited, "/predict/lenet5", compress(digit), encoding, "image/png")
    assert reply.status_code == 200 and reply.json()["predictions"][0]["label"] == "7"


def test_every_api_reads_compressed_bodies(limited: Service) -> None:
    pixels = [[[[0, 0, 0]] * 28] * 28]
    rows = gzip.compress(json.dumps({"instances": pixels, "signature_name": "image"}).encode())
    assert len(post(limited, "/v1/models/lenet5:predict", rows, "gzip").json()["predictions"][0]) == 10
    flat = {"name": "image", "datatype": "UINT8", "shape": [1, 28, 28, 3], "data": [0] * (28 * 28 * 3)}
    infer = gzip.compress(json.dumps({"inputs": [flat], "parameters": {"signature": "image"}}).encode())
    for path in ("/v2/models/lenet5/infer",):
        plain = httpx.post(f"{limited.url}{path}", content=gzip.decompress(infer), timeout=30)
        assert post(limited, path, infer, "gzip").json() == plain.json()


@cache
def bomb(size: int) -> bytes:
    compress = zlib.compressobj(9, wbits=31)
    piece = bytes(2**20)
    return b"".join(compress.compress(piece) for _ in range(size // 2**20)) + compress.flush()


@pytest.mark.parametrize("path", ["/predict/lenet5", "/v1/models/lenet5:predict", "/v2/models/lenet5/infer"])
def test_every_api_refuses_a_gzip_bomb(limited: Service, path: str) -> None:
    reply = post(limited, path, bomb(2**26), "gzip")
    assert reply.status_code == 413 and "unpacked" in reply.text


def test_gzip_bombs_cost_little(limited: Service) -> None:
    """512 MiB in 0.5 MB, four at once: what grows stays near the limit of a body. All APIs unpack in the same place."""
    data = bomb(2**29)
    assert len(data) < 0.6e6 < MAX_BODY
    replies: list[httpx.Response] = []

    def explode() -> None:
        with ThreadPoolExecutor(4) as threads:
            replies.extend(threads.map(lambda _: post(limited, "/predict/lenet5", data, "gzip"), range(4)))

    risen = growth(limited, explode)
    assert {reply.status_code for reply in replies} == {413}
    assert all("unpacked" in reply.text for reply in replies)
    assert risen < 4 * 4 * MAX_BODY, f"{risen / 2**20:.0f} MiB"


def test_others_are_answered_while_bombs_go_off(limited: Service) -> None:
    data, slowest = bomb(2**29), 0.0
    with ThreadPoolExecutor(4) as threads, httpx.Client(base_url=limited.url) as client:
        bombs = [threads.submit(post, limited, "/predict/lenet5", data, "gzip") for _ in range(12)]
        while not all(one.done() for one in bombs):
            started = time.monotonic()
            assert client.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - started)
    assert {one.result().status_code for one in bombs} == {413} and slowest < 2


@pytest.mark.parametrize(
    ("encoding", "body", "status", "says"),
    [
        ("br", b"x", 415, "send gzip, deflate or none"),
        ("gzip, gzip", _gzip(_gzip(b"x")), 415, "send gzip, deflate or none"),
        ("zstd", b"x", 415, "'zstd'"),
        ("gzip", b"plain", 400, "not valid gzip"),
        ("gzip", _gzip(b"x" * 1000)[:-4], 400, "breaks off"),
        ("gzip", _gzip(b"x") + b"more", 400, "not valid gzip"),
        ("gzip", _gzip(b"") * 2000, 400, "goes on after its end"),
        ("deflate", zlib.compress(b"x") + b"more", 400, "goes on after its end"),
        ("deflate", b"x", 400, "deflate"),
        ("gzip", b"", 400, "empty"),
        ("gzip", _gzip(b""), 400, "empty"),
    ],
)
def test_what_cannot_be_unpacked_says_so(limited: Service, encoding: str, body: bytes, status: int, says: str) -> None:
    reply = post(limited, "/predict/lenet5", body, encoding)
    assert reply.status_code == status and says in reply.json()["error"]["message"]
