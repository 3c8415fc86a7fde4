"""Behind a proxy that has the service below a path: pages, redirects and APIs, through a real nginx."""

import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from service.security import api_keys as keys
from tests.e2e.test_arguments_and_ports import failing
from tests.support.nginx import needs_nginx, proxying
from tests.support.service_process import Service, running


def check_everything_below(url: str, digit: bytes, key: str = "") -> None:
    """`url` ends in the prefix. Only addresses below it are followed."""
    prefix, headers = httpx.URL(url).path, {"accept": "text/html", "x-api-key": key}
    with httpx.Client(headers=headers, follow_redirects=True, timeout=30) as client:
        for start in (f"{url}/", f"{url}/docs/"):
            page = client.get(start)
            assert page.status_code == 200 and page.url.path == f"{prefix}/docs", (start, page.history, page.url)
            assert str(page.url).startswith(url)
        assets = re.findall(r'(?:src|href)="([^"]+)"', page.text)
        (description,) = re.findall(r"url: '([^']+)'", page.text)
        for path in (*assets, description):
            assert path.startswith(f"{prefix}/"), path
            assert client.get(httpx.URL(url).join(path)).status_code == 200, path
        schema = client.get(httpx.URL(url).join(description)).json()
        assert schema["servers"] == [{"url": prefix}]
        assert client.post(f"{url}/predict/lenet5", content=digit).json()["predictions"][0]["label"] == "7"
        assert client.get(f"{url}/v1/models/lenet5").json()["model_version_status"][0]["state"] == "AVAILABLE"
        assert client.get(f"{url}/v2/models/lenet5").json()["name"] == "lenet5"
        assert "error" in client.get(f"{url}/v2/models/nobody").json(), "the protocol's own shape"


@needs_nginx
@pytest.mark.parametrize("slash", ["/", ""], ids=["a proxy that strips the prefix", "one that leaves it"])
def test_a_prefix_of_ones_own(lenet5_repository: Path, tmp_path: Path, digit: bytes, slash: str) -> None:
    secret, entry = keys.make("all")
    (tmp_path / "keys.yaml").write_text(entry)
    arguments = ("--root-path", "/sub/", "--api-keys", tmp_path / "keys.yaml")
    with running("--repository", lenet5_repository, *arguments) as service:
        service.wait_ready()
        with proxying(tmp_path, f"location /sub/ {{ proxy_pass {service.url}{slash}; }}") as proxy:
            check_everything_below(f"{proxy}/sub", digit, secret)
            for path, status in (
                ("docs", 200),
                ("healthz", 200),
                ("metrics", 200),
                ("models", 401),
                ("v2/models", 401),
            ):
                assert httpx.get(f"{proxy}/sub/{path}").status_code == status, path
        assert httpx.get(f"{service.url}/healthz").status_code == 200, "probes ask past the proxy"


@pytest.fixture
def trusting(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository, "--trusted-proxies", "10.0.0.0/8,127.0.0.1") as service:
        service.wait_ready()
        yield service


@needs_nginx
def test_a_trusted_proxy_says_where_it_has_the_service(trusting: Service, tmp_path: Path, digit: bytes) -> None:
    locations = (
        f"location /one/ {{ proxy_pass {trusting.url}/; proxy_set_header X-Forwarded-Prefix /one; }}"
        f"location /two/eu/ {{ proxy_pass {trusting.url}; proxy_set_header X-Forwarded-Prefix /two/eu/; }}"
    )
    with proxying(tmp_path, locations) as proxy:
        check_everything_below(f"{proxy}/one", digit)
        check_everything_below(f"{proxy}/two/eu", digit)


def get_location(service: Service, prefix: str) -> str:
    headers = {"accept": "text/html", "x-forwarded-prefix": prefix}
    return httpx.get(f"{service.url}/", headers=headers).headers["location"]


def test_a_prefix_that_is_none_is_ignored(trusting: Service) -> None:
    assert get_location(trusting, "/one") == "/one/docs"
    for prefix in (
        "//evil.example",
        "https://evil.example",
        '/"><script>',
        "/v1",
        "/models/eu",
        "one",
        "/a/../b c",
        "",
    ):
        assert get_location(trusting, prefix) == "/docs", prefix


def test_nobody_else_is_believed(lenet5_repository: Path) -> None:
    for arguments in ((), ("--trusted-proxies", "10.0.0.0/8")):
        with running("--repository", lenet5_repository, *arguments) as service:
            service.wait_ready()
            assert get_location(service, "/one") == "/docs"


@pytest.mark.parametrize(
    ("flag", "value", "says"),
    [
        ("--root-path", "sub", "expected a path"),
        ("--root-path", "/v1", "does not have itself"),
        ("--trusted-proxies", "proxy.example", "expected addresses or networks"),
    ],
)
def test_what_is_none_of_these_is_refused_at_the_start(flag: str, value: str, says: str) -> None:
    code, error = failing(flag, value)
    assert code == 2 and flag in error and says in error
