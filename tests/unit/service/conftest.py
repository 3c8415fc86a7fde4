"""What several of these tests share."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path

import pytest
import uvloop

from service.backends.fake import FakeBackend
from service.models.registry import Catalog
from service.observability.metrics.registry import Metrics
from service.preprocessing.limits import ImageLimits
from service.preprocessing.preprocessor import Limits, Preparation
from tests.support.batchers import batcher
from tests.support.routing_world import World

_ON_UVLOOP = "test_connection"  # how a socket ends is the event loop's to say, and this is the service's


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Item
) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    on_uvloop = item.nodeid.partition("::")[0].endswith(f"{_ON_UVLOOP}.py")
    return {"uvloop": uvloop.new_event_loop} if on_uvloop else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    backend, metrics = FakeBackend(), Metrics()
    catalog = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=64), metrics, keep=3, needs_models=True
    )
    preparation = Preparation(Limits(64, 2**20, image=ImageLimits(max_pixels=10_000)), threads=1)
    yield World(backend, catalog, metrics, tmp_path, preparation)
    preparation.close()
