"""What several of these tests share."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from service.backends.fake import FakeBackend
from service.catalog import Catalog
from service.metrics import Metrics
from service.preparation import Limits, Preparation
from tests.unit.service.batches import batcher
from tests.unit.service.routed import World


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    backend, metrics = FakeBackend(), Metrics()
    catalog = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=64), metrics, keep=3, needs_models=True
    )
    preparation = Preparation(Limits(64, 10_000, 2**20), threads=1)
    yield World(backend, catalog, metrics, tmp_path, preparation)
    preparation.close()
