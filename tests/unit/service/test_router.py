"""What a plan makes of real catalogs, batchers and programmable models: substitutes, limits, shadows, ensembles."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from service.answering import Answering, Question
from service.backends.fake import Compute, FakeBackend, FakeRunner
from service.catalog import Catalog
from service.errors import BackendFailed, InvalidInput, NotFound, NotReady, Overloaded, ServiceError, TooLarge
from service.manifest import Manifest, Signature, TensorSpec
from service.messages import DEFAULT_SIGNATURE, Call, ModelRef, PredictRequest, PredictResult, Tensors
from service.metrics import Metrics
from service.preparation import Limits, Preparation
from service.routing.file import RoutesFile
from service.routing.router import Router
from tests.unit.service.batches import batcher

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

    def add(
        self, name: str, compute: Compute, labels: tuple[str, ...] = ("cat", "dog"), version: int = 1
    ) -> FakeRunner:
        manifest = Manifest(name, version, SIGNATURES, labels=labels, checked=True)
        return self.backend.add(name, version, FakeRunner(compute, slots=4), manifest)

    def value(self, series: str) -> float:
        found = re.search(rf"^{re.escape(series)} ([\d.e+-]+)$", self.metrics.page()[0].decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    backend, metrics = FakeBackend(), Metrics()
    catalog = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=64), metrics, keep=3, needs_models=True
    )
    preparation = Preparation(Limits(64, 10_000, 2**20), threads=1)
    yield World(backend, catalog, metrics, tmp_path, preparation)
    preparation.close()


def question(rows: int = 1, value: float = 0.0) -> Question:
    async def read(manifest: Manifest) -> PredictRequest:
        return PredictRequest({"x": np.full((rows, 2), value, np.float32)})

    return Question(read)


async def ask(router: Router, name: str, rows: int = 1, deadline: float | None = None) -> PredictResult:
    call = Call(ModelRef(name), "http", None if deadline is None else time.monotonic() + deadline)
    return await router.answer(call, question(rows))


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():
            await asyncio.sleep(0.005)


def cats(result: PredictResult) -> list[float]:
    return [round(float(row[0]), 4) for row in result.outputs["probabilities"]]


async def test_the_name_asked_for_comes_back_with_the_version_that_answered(world: World) -> None:
    world.add("m", says(0.9), version=4)
    router = await world.router("routes: {a: b, b: m}")
    result = await ask(router, "a")
    assert result.ref == ModelRef("a", 4) and result.served_by == (ModelRef("m", 4),)
    plain = await ask(router, "m")
    assert plain.ref == ModelRef("m", 4) == plain.served_by[0]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (BackendFailed("broken"), "BACKEND"),
        (RuntimeError("out of memory"), "BACKEND"),
        (Overloaded("full"), "OVERLOADED"),
        (NotReady("restarting"), "NOT_READY"),
    ],
)
async def test_the_next_answers_where_one_fails(world: World, error: Exception, code: str) -> None:
    world.add("m", fails(error))
    world.add("spare", says(0.8))
    router = await world.router("routes: {a: {target: m, fallback: [gone, spare]}}")
    result = await ask(router, "a")
    assert result.served_by == (ModelRef("spare", 1),) and cats(result) == [0.8]
    assert world.value(f'model_server_route_fallbacks_total{{code="{code}",route="a",target="m"}}') == 1
    assert world.value('model_server_route_fallbacks_total{code="NOT_FOUND",route="a",target="gone"}') == 1
    assert world.value('model_server_route_calls_total{code="OK",route="a",target="spare"}') == 1


async def test_the_clients_own_mistakes_are_not_asked_again(world: World) -> None:
    world.add("m", fails(InvalidInput("bad pixels")))
    spare = world.add("spare", says(0.8))
    router = await world.router("routes: {a: {target: m, fallback: [spare]}}")
    with pytest.raises(InvalidInput, match="bad pixels"):
        await ask(router, "a")

    async def read(manifest: Manifest) -> PredictRequest:
        return PredictRequest({"x": np.zeros((1, 2), np.float32)}, "no_such_signature")

    with pytest.raises(NotFound, match="no_such_signature"):
        await router.answer(Call(ModelRef("a"), "http"), Question(read))
    assert spare.calls == []


async def test_where_all_fail_the_client_learns_what_gives_most_hope(world: World) -> None:
    world.add("m", fails(RuntimeError("broken")))
    world.add("busy", fails(Overloaded("full")))
    router = await world.router("routes: {a: {target: gone, fallback: [m, busy]}, b: {target: gone, fallback: [m]}}")
    with pytest.raises(Overloaded, match="full"):
        await ask(router, "a")
    with pytest.raises(BackendFailed, match="broken"):
        await ask(router, "b")


async def test_nothing_more_is_asked_once_the_deadline_is_past(world: World) -> None:
    async def slow_failure(signature: str, inputs: Tensors) -> Tensors:
        await asyncio.sleep(1.2)
        raise RuntimeError("broken")

    world.add("m", slow_failure)
    spare = world.add("spare", says(0.8))
    router = await world.router("routes: {a: {target: m, fallback: [spare]}}")
    with pytest.raises(BackendFailed):
        await ask(router, "a", deadline=1.0)
    assert spare.calls == []


async def test_a_body_is_read_once_for_all_who_answer(world: World) -> None:
    world.add("m", fails(RuntimeError("broken")))
    for name in ("x", "y"):
        world.add(name, says(0.5))
    router = await world.router("routes: {a: {target: m, fallback: [both]}, both: {ensemble: {members: [x, y]}}}")
    reads = []

    async def read(manifest: Manifest) -> PredictRequest:
        reads.append(manifest.name)
        await asyncio.sleep(0.01)
        return PredictRequest({"x": np.zeros((1, 2), np.float32)})

    await router.answer(Call(ModelRef("a"), "http"), Question(read))
    assert reads == ["m"]


async def test_a_routes_own_limits(world: World) -> None:
    world.add("m", hangs)
    world.add("spare", says(0.8))
    router = await world.router(
        "routes: {a: {target: m, max_in_flight: 1, max_rows: 2, latency_slo_ms: 1500},"
        " b: {target: a, fallback: [spare]}}"
    )
    started = time.monotonic()
    first = asyncio.create_task(ask(router, "a"))
    await asyncio.sleep(0.01)
    with pytest.raises(Overloaded, match="route 'a' has 1 requests"):
        await ask(router, "a")
    assert (await ask(router, "b")).served_by == (ModelRef("spare", 1),), "a full route has a substitute too"
    with pytest.raises(TimeoutError):
        await first
    assert 1.4 < time.monotonic() - started < 15
    with pytest.raises(TooLarge, match="route 'a' takes 2 rows in one request, got 3"):
        await ask(router, "a", rows=3)
    assert world.value('model_server_route_calls_total{code="OVERLOADED",route="a",target=""}') == 2


async def test_a_clients_deadline_goes_before_the_routes(world: World) -> None:
    async def slow(signature: str, inputs: Tensors) -> Tensors:
        await asyncio.sleep(0.3)
        return await says(0.9)(signature, inputs)

    world.add("m", slow)
    router = await world.router("routes: {a: {target: m, latency_slo_ms: 50}}")
    assert cats(await ask(router, "a", deadline=30)) == [0.9]


async def test_an_ensemble_is_the_weighted_average_label_by_label(world: World) -> None:
    world.add("m", says(0.9))
    world.add("turned", says(0.3), labels=("dog", "cat"))
    router = await world.router("routes: {both: {ensemble: {members: [{target: m, weight: 3}, turned]}}}")
    result = await ask(router, "both", rows=2)
    assert cats(result) == [round((3 * 0.9 + 0.7) / 4, 4)] * 2 and result.labels == ("cat", "dog")
    assert result.outputs["probabilities"].dtype == np.float32
    assert result.ref == ModelRef("both", 1) and result.served_by == (ModelRef("m", 1), ModelRef("turned", 1))


async def test_an_ensemble_of_other_labels_is_refused(world: World) -> None:
    world.add("m", says(0.9))
    world.add("birds", says(0.9), labels=("crow", "dog"))
    router = await world.router("routes: {both: {ensemble: {members: [m, birds]}}}")
    with pytest.raises(BackendFailed, match="m/1 and birds/1 have different labels"):
        await ask(router, "both")


async def test_a_member_that_fails_fails_the_ensemble_unless_a_quorum_answers(world: World) -> None:
    world.add("m", says(0.9))
    world.add("n", says(0.5))
    world.add("broken", fails(RuntimeError("broken")))
    router = await world.router(
        "routes: {all: {ensemble: {members: [m, broken, n]}}, two: {ensemble: {members: [m, broken, n], quorum: 2}},"
        " lost: {ensemble: {members: [broken, gone, m], quorum: 2}}}"
    )
    with pytest.raises(BackendFailed):
        await ask(router, "all")
    result = await ask(router, "two")
    assert cats(result) == [0.7] and result.served_by == (ModelRef("m", 1), ModelRef("n", 1))
    with pytest.raises(ServiceError):
        await ask(router, "lost")
    assert world.value('model_server_route_calls_total{code="BACKEND",route="two",target="broken"}') == 1


async def test_a_member_that_hangs_is_done_without_in_time(world: World) -> None:
    world.add("m", says(0.9))
    stuck = world.add("stuck", hangs)
    router = await world.router("routes: {some: {ensemble: {members: [m, stuck], quorum: 1}}}")
    assert cats(await ask(router, "some", deadline=3)) == [0.9]
    await until(lambda: stuck.running == 0)  # what nobody waits for is cancelled


async def shadowed(world: World, outcome: str, target: str = "trial", at_least: int = 1) -> None:
    series = f'model_server_shadow_calls_total{{outcome="{outcome}",route="a",target="{target}"}}'
    await until(lambda: world.value(series) >= at_least)


async def test_a_shadow_is_compared_and_its_answer_goes_nowhere(world: World) -> None:
    async def by_row(signature: str, inputs: Tensors) -> Tensors:
        cat = np.where(np.arange(len(inputs["x"])) % 2, 0.4, 0.8).astype(np.float32)
        return {"probabilities": np.stack([cat, 1 - cat], axis=1)}

    world.add("m", says(0.9))
    world.add("trial", by_row)
    router = await world.router("routes: {a: {target: m, shadow: trial}}")
    result = await ask(router, "a", rows=4)
    assert cats(result) == [0.9] * 4 and result.served_by == (ModelRef("m", 1),)
    await shadowed(world, "compared")
    rows = 'model_server_shadow_rows_total{{agreement="{}",route="a",target="trial"}}'
    assert world.value(rows.format("agreed")) == world.value(rows.format("disagreed")) == 2
    difference = 'model_server_shadow_difference_sum{{route="a",statistic="{}",target="trial"}}'
    assert world.value(difference.format("max")) == pytest.approx(0.5, abs=1e-6)
    assert world.value(difference.format("mean")) == pytest.approx(0.3, abs=1e-6)
    assert world.value('model_server_shadow_latency_ratio_count{route="a",target="trial"}') == 1


async def test_a_shadow_never_delays_nor_fails_the_answer_and_is_bounded(world: World) -> None:
    world.add("m", says(0.9))
    stuck = world.add("trial", hangs)
    router = await world.router(
        "routes: {a: {target: m, shadow: {target: trial, max_in_flight: 2, deadline_ms: 2000}}}"
    )
    started = time.monotonic()
    for _ in range(5):
        await ask(router, "a")
    assert time.monotonic() - started < 2, "nobody waits for a shadow"
    await shadowed(world, "dropped", at_least=3)
    await shadowed(world, "failed", at_least=2)
    while stuck.running:  # its batch is cancelled a moment after its caller
        await asyncio.sleep(0.01)
    await ask(router, "a")
    await shadowed(world, "failed", at_least=3)


async def test_what_cannot_be_compared_is_counted_as_such(world: World) -> None:
    world.add("m", says(0.9))
    world.add("birds", says(0.9), labels=("crow", "dog"))
    router = await world.router("routes: {a: {target: m, shadow: birds}}")
    await ask(router, "a")
    await shadowed(world, "incomparable", "birds")
    router = await world.router("routes: {a: {target: m, shadow: m/1}}")
    await ask(router, "a")
    await shadowed(world, "same", "m/1")
    router = await world.router("routes: {a: {target: m, shadow: gone}}")
    await ask(router, "a")
    await shadowed(world, "failed", "gone")


async def test_a_substitutes_answer_is_not_compared_with_the_shadow(world: World) -> None:
    world.add("m", fails(RuntimeError("broken")))
    world.add("spare", says(0.5))
    trial = world.add("trial", says(0.5))
    router = await world.router("routes: {a: {target: m, fallback: [spare], shadow: trial}}")
    await ask(router, "a")
    await asyncio.sleep(0.05)
    assert trial.calls == []


async def test_shadows_end_at_once_when_asked(world: World) -> None:
    world.add("m", says(0.9))
    stuck = world.add("trial", hangs)
    router = await world.router("routes: {a: {target: m, shadow: {target: trial, deadline_ms: 60000}}}")
    await ask(router, "a")
    await until(lambda: stuck.running == 1)
    router.end_shadows()
    await ask(router, "a")
    await asyncio.wait_for(world.catalog.close(), 5)
    assert stuck.closed and len(stuck.calls) == 1


async def test_a_cancelled_call_leaves_every_member_and_its_place(world: World) -> None:
    runners = [world.add(name, hangs) for name in ("x", "y")]
    router = await world.router("routes: {both: {ensemble: {members: [x, y]}, max_in_flight: 1}}")
    task = asyncio.create_task(ask(router, "both"))
    await until(lambda: all(runner.running for runner in runners))
    task.cancel()
    await asyncio.wait([task])
    await until(lambda: not any(runner.running for runner in runners))
    again = asyncio.create_task(ask(router, "both"))
    await until(lambda: again.done() or all(runner.running for runner in runners))
    assert not again.done(), "its place is free again"
    again.cancel()


async def test_an_unknown_name_is_told_the_routes_that_the_asker_may_know(world: World) -> None:
    world.add("m", says(0.9))
    for only, more in (("false", "models here"), ("true", "only routes")):
        router = await world.router(f"{{only_routes: {only}, routes: {{cats: m, dogs: m}}}}")
        with pytest.raises(NotFound, match=rf"Latest\(x\).*{more}.*routes here: \['cats', 'dogs'\]"):
            await ask(router, "x")
        answering = Answering(world.catalog, world.preparation)
        shy = Router(answering, router.file, world.metrics, shows=lambda name: name == "cats")
        with pytest.raises(NotFound, match="cats") as refused:
            await ask(shy, "x")
        assert "dogs" not in str(refused.value) and "dogs" not in str(refused.value.detail)


async def test_an_unknown_label_lists_the_routes_labels_and_the_versions_own(world: World) -> None:
    world.add("m", says(0.9))
    loaded = world.backend.versions["m", 1]
    assert not isinstance(loaded, Exception)
    world.backend.versions["m", 1] = replace(loaded, manifest=replace(loaded.manifest, precision="int8"))
    router = await world.router("routes: {a: {target: m, labels: {stable: 1, canary: 9}}}")
    with pytest.raises(
        InvalidInput, match=r"'a' has no version label 'beta'; labels here: \['canary', 'int8', 'stable'\]"
    ):
        await router.answer(Call(ModelRef("a", label="beta"), "http"), question())
    assert (await router.answer(Call(ModelRef("a", label="stable"), "http"), question())).ref == ModelRef("a", 1)
    with pytest.raises(NotFound, match=r"Servable.*Specific\(m, 9\)"):
        await router.answer(Call(ModelRef("a", label="canary"), "http"), question())
    page = world.metrics.page()[0].decode()
    assert 'target="as asked"' in page and "beta" not in page and "m/9" not in page
