"""Real catalogs and batchers over programmable models, asked through routes."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from service.backends.fake import Compute, FakeBackend, FakeRunner
from service.models.executor import Answering
from service.models.registry import Catalog
from service.observability.context import RequestContext, Trace
from service.observability.metrics.registry import Metrics
from service.predictor import Predictor
from service.preprocessing.preprocessor import Preparation
from service.repository.manifest import Manifest, Signature, TensorSpec
from service.routing.router import Router
from service.routing.routes_file import RoutesFile
from service.security.authorizer import Gate
from service.types import DEFAULT_SIGNATURE, ModelRef, PredictRequest, PredictResult, Tensors
from tests.support.service_process import read_metric

SIGNATURES = {
    DEFAULT_SIGNATURE: Signature(
        {"x": TensorSpec("float32", (None, 2))}, {"probabilities": TensorSpec("float32", (None, 2))}
    )
}


def says(cat: float) -> Compute:
    """A classifier that always gives `cat` the same probability, and the rest to its other label."""

    async def compute(signature: str, inputs: Tensors) -> Tensors:
        return {"probabilities": np.tile(np.asarray([cat, 1 - cat], np.float32), (len(inputs["x"]), 1))}

    return compute


def fails(error: Exception) -> Compute:
    async def compute(signature: str, inputs: Tensors) -> Tensors:
        raise error

    return compute


async def hangs(signature: str, inputs: Tensors) -> Tensors:
    await asyncio.sleep(60)
    raise AssertionError("nobody waits that long")


@dataclass
class World:
    backend: FakeBackend
    catalog: Catalog
    metrics: Metrics
    folder: Path
    preparation: Preparation

    async def router(self, routes: str) -> Router:
        path = self.folder / "routes.yaml"
        path.write_text(routes)
        await self.catalog.sync()
        return Router(Answering(self.catalog, self.preparation), RoutesFile(path, self.metrics), self.metrics)

    async def predictor(self, routes: str, **limits: Any) -> Predictor:
        router, gate = await self.router(routes), Gate(self.metrics)
        return Predictor(self.catalog, router, self.metrics, gate, **{"max_in_flight": 100} | limits)

    def add(
        self,
        name: str,
        compute: Compute,
        labels: tuple[str, ...] = ("cat", "dog"),
        version: int = 1,
        temperature: float | None = None,
    ) -> FakeRunner:
        manifest = Manifest(name, version, SIGNATURES, labels=labels, checked=True, temperature=temperature)
        return self.backend.add(name, version, FakeRunner(compute, slots=4), manifest)

    def value(self, series: str) -> float:
        return read_metric(self.metrics.page()[0].decode(), series)


def body(rows: int = 1, value: float = 0.0, columns: int = 2) -> PredictRequest:
    return PredictRequest({"x": np.full((rows, columns), value, np.float32)})


def context(deadline: float | None = None) -> RequestContext:
    """`deadline` in seconds from now."""
    return RequestContext(Trace("http"), deadline=None if deadline is None else time.monotonic() + deadline)


async def ask(router: Router, asked: str | ModelRef, rows: int = 1, deadline: float | None = None) -> PredictResult:
    ref = asked if isinstance(asked, ModelRef) else ModelRef(asked)
    return await (await router.admit(context(deadline), ref)).predict(body(rows))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def cats(result: PredictResult) -> list[float]:
    return [round(float(row[0]), 4) for row in result.outputs["probabilities"]]
