"""The replicas behind everything that stands before them in the gateway."""

import asyncio
from pathlib import Path

import numpy as np

from service.observability.context import RequestContext, Trace
from service.server.app import build
from service.settings import BackendName, Settings
from service.types import ModelRef, PredictRequest
from tests.support.fake_tfserving import Scripted, slow


async def test_a_replica_that_comes_later_adds_its_share(tmp_path: Path) -> None:
    """How many batches travel at once follows the replicas, also for versions that were loaded before."""
    first, second = Scripted(slow(0.2)), Scripted(slow(0.2))
    await first.start()
    await second.start()
    await second.stop()  # its port is known
    settings = Settings(
        _cli_parse_args=[],  # type: ignore[call-arg]  # not a field
        backend=BackendName.tfserving,
        target=f"127.0.0.1:{first.port},127.0.0.1:{second.port}",
        repository=tmp_path / "absent",
        max_batch_rows=1,
    )
    core = build(settings)
    await core.catalog.sync()
    row = PredictRequest({"x": np.ones((1, 1), np.float32)}, "serving_default")

    async def ask() -> None:
        async with core.predictor.admit(RequestContext(Trace("grpc")), ModelRef("m1")) as admitted:
            await admitted.predict(row)

    async def most(count: int) -> int:
        asking = asyncio.gather(*(ask() for _ in range(count)))
        reached = 0
        while not asking.done():
            running = sum(server.started - server.answered for server in (first, second))
            reached = max(reached, running)
            await asyncio.sleep(0.01)
        await asking
        return reached

    try:
        assert await most(12) == 4
        await second.start(f"127.0.0.1:{second.port}")
        while not second.answered:
            await core.catalog.sync()
            await most(2)
        assert await most(24) == 8
    finally:
        await core.catalog.close()
        await first.stop()
        await second.stop()
