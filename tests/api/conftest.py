"""One running service for all the edge tests: a real model, and anybody's SavedModel beside it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support import saved_model_zoo as zoo
from tests.support.service_process import Service, running
from tests.support.testdata import with_half_plus_two


@pytest.fixture(scope="session")
def samples(lenet5_repository: Path) -> dict[str, bytes]:
    """Held-out digits as PNG bytes, by label."""
    folder = lenet5_repository / "lenet5" / "1" / "assets.extra" / "samples"
    return {path.name.partition("-")[0]: path.read_bytes() for path in sorted(folder.glob("*.png"))}


@pytest.fixture(scope="session")
def service(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    repository = with_half_plus_two(lenet5_repository, tmp_path_factory.mktemp("edges"))
    zoo.write(repository)
    (repository / "not UTF-8 \udcff" / "1").mkdir(parents=True)
    (repository / "broken" / "1").mkdir(parents=True)
    (repository / "broken" / "1" / "saved_model.pb").write_bytes(b"no SavedModel")
    with running("--repository", repository) as service:
        service.wait_ready()
        yield service
        assert service.stop() == 0


@pytest.fixture
def client(service: Service) -> httpx.Client:
    return httpx.Client(base_url=service.url, timeout=30)
