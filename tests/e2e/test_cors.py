"""Pages from elsewhere may ask from a browser only where the operator says so."""

from pathlib import Path

import httpx
import pytest

from service.security import api_keys as keys
from tests.support.service_process import running

PAGE = "https://app.example.com"
PREFLIGHT = {"origin": PAGE, "access-control-request-method": "POST", "access-control-request-headers": "x-api-key"}


def test_it_is_off_by_default(lenet5_repository: Path) -> None:
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        reply = httpx.get(f"{service.url}/models", headers={"origin": PAGE})
        assert reply.status_code == 200 and not [name for name in reply.headers if name.startswith("access-control")]
        assert httpx.options(f"{service.url}/predict/lenet5", headers=PREFLIGHT).status_code == 405


def test_listed_origins_may_ask_with_keys_and_read_refusals(lenet5_repository: Path, tmp_path: Path) -> None:
    secret, entry = keys.make("page")
    (tmp_path / "keys.yaml").write_text(entry)
    arguments = ("--cors-origins", f"{PAGE}/,http://localhost:3000", "--api-keys", tmp_path / "keys.yaml")
    with running("--repository", lenet5_repository, *arguments) as service:
        service.wait_ready()
        preflight = httpx.options(f"{service.url}/predict/lenet5", headers=PREFLIGHT)
        assert preflight.status_code == 200 and preflight.headers["access-control-allow-origin"] == PAGE
        assert "x-api-key" in preflight.headers["access-control-allow-headers"].lower()
        for key, status in ((secret, 200), ("wrong", 401)):
            reply = httpx.get(f"{service.url}/models", headers={"origin": PAGE, "x-api-key": key})
            assert reply.status_code == status and reply.headers["access-control-allow-origin"] == PAGE
        stranger = httpx.options(
            f"{service.url}/predict/lenet5", headers=PREFLIGHT | {"origin": "https://evil.example"}
        )
        assert stranger.status_code == 400 and "access-control-allow-origin" not in stranger.headers


@pytest.mark.parametrize("origin", ["app.example.com", "https://app.example.com/page", "null"])
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    from tests.e2e.test_arguments_and_ports import failing

    code, error = failing("--cors-origins", origin)
    assert code == 2 and "--cors-origins" in error and "expected origins such as" in error
