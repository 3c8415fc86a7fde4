"""The page at / without a browser: its files, what the models were given, their samples and reports."""

import base64
import io
import re
from importlib import resources
from pathlib import Path

import httpx
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from service.preprocessing import decode as images
from service.repository.version_files import REPORT
from tests.support.image_matrix import after_start, exif, segment, turned
from tests.support.images import encode, photo
from tests.support.replies import error_of
from tests.support.service_process import Service
from tests.support.testdata import needs_testdata

_BROWSER = {"accept": "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"}
_FILES = ("page.html", "page.css", "page.js")


def test_the_page_fits_into_40_kb() -> None:
    folder = resources.files("service.api.page")
    assert sum(len(folder.joinpath(name).read_bytes()) for name in _FILES) < 40_000


def test_it_asks_nobody_else(client: httpx.Client, service: Service) -> None:
    page = client.get("/", headers=_BROWSER)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert re.findall(r'(?:src|href)="([^"]+)"', page.text) == [
        *("data:,", "page/page.css", "page/page.js", "docs", "metrics"),
    ]
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name, kind in zip(_FILES, ("text/html", "text/css", "text/javascript"), strict=True):
        asset = client.get(f"/page/{name}")
        assert asset.headers["content-type"] == f"{kind}; charset=utf-8"
        assert asset.headers["content-security-policy"] == policy
        assert not re.search(r"""(https?:)?//[\w.]+\.\w|@import|\beval\(|innerHTML""", asset.text), name
    assert f'data-grpc-port="{service.grpc_port}"' in page.text, "told, not guessed"


def test_its_files_are_sent_once_and_compressed(client: httpx.Client) -> None:
    for path in ("/", "/page/page.css", "/page/page.js"):
        plain = client.get(path, headers=_BROWSER | {"accept-encoding": "identity"})
        packed = client.get(path, headers=_BROWSER | {"accept-encoding": "gzip"})
        assert packed.headers["content-encoding"] == "gzip" and packed.text == plain.text
        assert int(packed.headers["content-length"]) < len(plain.content) / 2
        again = client.get(path, headers=_BROWSER | {"if-none-match": packed.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize("path", ["/page/", "/page/route.py", "/page/../route.py", "/page/__init__.py", "/page/x.js"])
def test_nothing_else_is_a_file_of_it(client: httpx.Client, path: str) -> None:
    error_of(client.get(httpx.URL(client.base_url).copy_with(raw_path=path.encode())), 404)


def test_samples_are_listed_and_shown(client: httpx.Client, samples: dict[str, bytes]) -> None:
    listed = client.get("/models/lenet5/files").json()
    assert listed["version"] == 1 and len(listed["samples"]) >= 10 and listed["report"] is True
    reply = client.get("/models/lenet5/samples/7-0.png", params={"version": 1})
    assert (reply.content, reply.headers["content-type"]) == (samples["7"], "image/png")
    assert reply.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    "name",
    [
        *("..%2f..%2fmanifest.json", "%2e%2e%2fmanifest.json", "../manifest.json", "manifest.json", "7-0.png%00"),
        *("%2fetc%2fpasswd", "....//manifest.json", "..%5cmanifest.json", "%ff.png"),
    ],
)
def test_no_other_file_is_shown(client: httpx.Client, name: str) -> None:
    reply = client.get(httpx.URL(client.base_url).copy_with(raw_path=f"/models/lenet5/samples/{name}".encode()))
    error_of(reply, 404)


def test_the_report_is_shown_in_a_box_of_its_own(client: httpx.Client, lenet5_repository: Path) -> None:
    reply = client.get("/models/lenet5/report")
    assert reply.content == (lenet5_repository / "lenet5" / "1" / REPORT).read_bytes()
    assert "sandbox allow-scripts" in reply.headers["content-security-policy"]


def test_a_model_from_elsewhere_has_neither(client: httpx.Client) -> None:
    assert client.get("/models/zoo/files").json() == {"version": 7, "samples": [], "report": False}
    assert "report" in error_of(client.get("/models/zoo/report"), 404)["message"]
    for path in ("files", "samples/a.png", "report"):
        error_of(client.get(f"/models/nobody/{path}"), 404)
        error_of(client.get(f"/models/lenet5/{path}", params={"version": 2}), 404)
        error_of(client.get(f"/models/lenet5/{path}", params={"version": "x"}), 400)


def shown(client: httpx.Client, data: bytes) -> NDArray[np.uint8]:
    reply = client.post("/predict/lenet5?seen=true", content=data)
    assert reply.status_code == 200, reply.text
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(reply.json()["seen"]))))


def test_what_a_model_sees_is_what_it_is_given(client: httpx.Client, samples: dict[str, bytes]) -> None:
    for data in (encode(photo(), "JPEG"), samples["7"]):
        assert (shown(client, data) == images.decode(data, 28, 28)).all()


def test_it_sees_photos_upright(client: httpx.Client) -> None:
    upright = photo()
    stored = encode(np.asarray(turned(Image.fromarray(upright), 6)), "JPEG", quality=95)
    lying = after_start(stored, segment(0xE1, b"Exif\0\0" + exif(6)))
    wanted = images.decode(encode(upright), 28, 28).astype(int)
    assert np.abs(shown(client, lying) - wanted).mean() < 3 < np.abs(shown(client, stored) - wanted).mean()


def test_what_cannot_be_seen_is_told(client: httpx.Client, samples: dict[str, bytes]) -> None:
    def refused(status: int, path: str = "/predict/lenet5", **body: object) -> str:
        return str(error_of(client.post(path, params={"seen": "true"}, **body), status)["message"])  # type: ignore[arg-type]

    assert "no JPEG" in refused(400, content=b"no image at all")
    assert "empty" in refused(400, content=b"")
    two = [("image", samples["7"]), ("image", samples["3"])]
    assert refused(400, files=two) == "invalid seen: expected one image, got 2"
    assert "milliseconds" in refused(400, content=samples["7"], headers={"x-request-deadline-ms": "soon"})
    assert "deadline" in refused(504, content=samples["7"], headers={"x-request-deadline-ms": "0.001"})
    assert "larger than" in refused(413, content=b"\xff" * 100_000_000)
    assert "expected parameters among" in refused(400, "/embed/lenet5", content=samples["7"])


@needs_testdata
def test_a_model_of_numbers_sees_no_photo(client: httpx.Client) -> None:
    reply = client.post("/predict/half_plus_two?seen=true", json={"instances": [1.0]})
    assert "no pixels" in error_of(reply, 400)["message"]
