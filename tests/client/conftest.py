"""One running service for the tests of the client, and images for it."""

from collections.abc import Iterator
from importlib import resources
from pathlib import Path

import pytest

from image_model_client import Client
from tests.support.service_process import Service, running


@pytest.fixture(scope="package")  # and no longer: other tests look for services that were left behind
def service(serve_repository: Path) -> Iterator[Service]:
    with running("--repository", serve_repository, "--max-body-bytes", 4 << 20) as service:
        service.wait_ready()
        yield service
        assert service.stop() == 0


@pytest.fixture(scope="module")
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as client:
        yield client


@pytest.fixture(scope="session")
def digits(serve_repository: Path) -> list[Path]:
    """Files of held-out digits: the label is the first letter of the name."""
    return sorted((serve_repository / "lenet5" / "1" / "assets.extra" / "samples").glob("*.png"))


@pytest.fixture(scope="session")
def seven(serve_repository: Path) -> Path:
    return serve_repository / "lenet5" / "1" / "assets.extra" / "samples" / "7-0.png"


@pytest.fixture(scope="session")
def coffee() -> bytes:
    """A photograph of a cup of coffee, 600x400, as PNG."""
    return (resources.files("skimage.data") / "coffee.png").read_bytes()
