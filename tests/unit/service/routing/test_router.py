"""What a plan makes of real catalogs, batchers and programmable models: substitutes, limits, shadows, ensembles."""

import asyncio
import gc
import time
import weakref
from dataclasses import replace

import numpy as np
import pytest

from service.batching.cost_model import Profiled
from service.batching.queue import Arrivals
from service.errors import BackendFailed, InvalidInput, NotFound, NotReady, Overloaded, ServiceError, TooLarge
from service.models.executor import Answering
from service.models.registry import Catalog
from service.routing.router import Router
from service.types import ModelRef, PredictRequest, Tensors
from tests.support.batchers import batcher
from tests.support.routing_world import World, ask, body, cats, context, fails, hangs, says, until


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

    admission = await router.admit(context(), ModelRef("a"))
    with pytest.raises(NotFound, match="no_such_signature"):
        await admission.predict(replace(body(), signature="no_such_signature"))
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


async def test_a_body_is_parsed_once_for_all_who_answer(world: World) -> None:
    world.add("m", fails(RuntimeError("broken")))
    for name in ("x", "y"):
        world.add(name, says(0.5))
    router = await world.router("routes: {a: {target: m, fallback: [both]}, both: {ensemble: {members: [x, y]}}}")
    admission = await router.admit(context(), ModelRef("a"))
    assert admission.manifest.name == "m"
    result = await admission.predict(body())
    assert result.served_by == (ModelRef("x", 1), ModelRef("y", 1))


async def test_a_body_is_parsed_against_the_first_target_that_lets_it_in(world: World) -> None:
    for name in ("m", "x", "y"):
        world.add(name, says(0.5))
    router = await world.router(
        "routes: {a: {target: gone, fallback: [full, m]}, full: {target: x, max_in_flight: 1},"
        " both: {ensemble: {members: [gone, y], quorum: 1}}}"
    )
    place = await router.admit(context(), ModelRef("full"))
    admission = await router.admit(context(), ModelRef("a"))
    assert admission.manifest.name == "m"
    place.release(InvalidInput("no image"))
    assert (await router.admit(context(), ModelRef("a"))).manifest.name == "x", "the place was given back"
    assert (await router.admit(context(), ModelRef("both"))).manifest.name == "y"
    assert world.value('model_server_route_calls_total{code="INVALID_INPUT",route="full",target="x"}') == 1


@pytest.mark.parametrize("asked", ["m", "a", "both"])
async def test_who_is_released_holds_nothing(world: World, asked: str) -> None:
    """A body that cannot be parsed, or a client that leaves while it sends: versions unload, places are free."""
    for name in ("m", "x"):
        world.add(name, says(0.5))
    router = await world.router("routes: {a: {target: m, max_in_flight: 1}, both: {ensemble: {members: [m, x]}}}")
    for error in (InvalidInput("no image"), asyncio.CancelledError()):
        (await router.admit(context(), ModelRef(asked))).release(error)
    assert (await ask(router, asked)).served_by[0] == ModelRef("m", 1)
    await asyncio.wait_for(world.catalog.close(), 5)


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
    with pytest.raises(Overloaded, match="route 'a' has 1 request under way"):
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


async def test_the_temperature_is_that_of_the_version_that_answers(world: World) -> None:
    world.add("fails", fails(BackendFailed("no")), temperature=3.0)
    world.add("m", says(0.9), temperature=2.0)
    world.add("plain", says(0.9))
    router = await world.router(
        "routes: {first: {target: fails, fallback: [m]}, second: {target: fails, fallback: [plain]}, "
        "both: {ensemble: {members: [m, plain]}}}"
    )
    assert [(await ask(router, name)).temperature for name in ("m", "first", "second", "both")] == [2, 2, None, None]
    admission = await router.admit(context(), ModelRef("both"))
    assert admission.manifest.temperature is None
    await admission.predict(body())


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
        shy = Router(answering, router.file, world.metrics, shows=lambda caller, name: name == "cats")
        with pytest.raises(NotFound, match="cats") as refused:
            await ask(shy, "x")
        assert "dogs" not in str(refused.value) and "dogs" not in str(refused.value.detail)


async def test_a_target_whose_label_is_missing_is_not_there_and_no_mistake_of_the_client(world: World) -> None:
    world.add("m", says(0.9))
    world.add("spare", says(0.8))
    router = await world.router("routes: {a: {target: m@gone, fallback: [spare]}, b: m@gone, c: m, d: b}")
    assert (await ask(router, "a")).served_by == (ModelRef("spare", 1),)
    assert world.value('model_server_route_fallbacks_total{code="NOT_FOUND",route="a",target="m@gone"}') == 1
    for ref in (ModelRef("b"), ModelRef("d")):
        with pytest.raises(NotFound, match="'m' has no version label 'gone'"):
            await ask(router, ref)
    for name in ("m", "c"):
        with pytest.raises(InvalidInput, match="no version label 'gone'"):
            await ask(router, ModelRef(name, label="gone"))


async def test_an_unknown_label_lists_the_routes_labels_and_the_versions_own(world: World) -> None:
    world.add("m", says(0.9))
    loaded = world.backend.versions["m", 1]
    assert not isinstance(loaded, Exception)
    world.backend.versions["m", 1] = replace(loaded, manifest=replace(loaded.manifest, precision="int8"))
    router = await world.router("routes: {a: {target: m, labels: {stable: 1, canary: 9}}}")
    with pytest.raises(
        InvalidInput, match=r"'a' has no version label 'beta'; labels here: \['canary', 'int8', 'stable'\]"
    ):
        await ask(router, ModelRef("a", label="beta"))
    assert (await ask(router, ModelRef("a", label="stable"))).ref == ModelRef("a", 1)
    with pytest.raises(NotFound, match=r"Servable.*Specific\(m, 9\)"):
        await ask(router, ModelRef("a", label="canary"))
    page = world.metrics.page()[0].decode()
    assert 'target="as asked"' in page and "beta" not in page and "m/9" not in page


@pytest.mark.parametrize(
    ("routes", "asked", "shares"),
    [
        ("routes: {a: m}", "a", True),
        ("routes: {a: {target: m, batching: false}}", "a", False),
        ("routes: {a: {target: m, batching: false}}", "m", True),
        ("routes: {m: {batching: false}}", "m", False),
        ("routes: {m: {batching: false}, a: m}", "a", False),
        ("routes: {m: {batching: false}, a: m/1}", "a", False),
        ("routes: {a: {target: m, batching: false}, b: a}", "b", False),
        ("routes: {a: {split: [m, {target: other, weight: 0}], batching: false}}", "a", False),
        ("routes: {a: {ensemble: {members: [m, other]}, batching: false}}", "a", False),
        ("routes: {a: {target: absent, fallback: [m], batching: false}}", "a", False),
        ("routes: {a: {target: other, shadow: {target: m, max_in_flight: 8}, batching: false}}", "a", False),
        ("routes: {a: {target: other, shadow: {target: m, max_in_flight: 8}}}", "a", True),
    ],
)
async def test_a_route_and_a_models_own_keep_calls_from_sharing_batches(
    world: World, routes: str, asked: str, shares: bool
) -> None:
    gate = asyncio.Event()
    calls = 0

    async def gated(signature: str, inputs: Tensors) -> Tensors:
        nonlocal calls
        calls += 1
        await gate.wait()
        return await says(0.5)(signature, inputs)

    runner = world.add("m", gated)
    world.add("other", says(0.5))
    router = await world.router(routes)
    asking = [asyncio.create_task(ask(router, asked)) for _ in range(8)]
    await until(lambda: calls == runner.slots)  # the others wait, together or apart
    gate.set()
    await asyncio.gather(*asking)
    await until(lambda: sum(runner.calls) >= 8)
    assert (max(runner.calls) > 1) == shares, runner.calls


async def test_a_request_comes_once_to_a_target_that_the_door_would_refuse_it_for(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether its fallback takes the request, or nobody does."""
    slow = Profiled({1: 1000.0, 8: 8000.0})
    catalog = Catalog(
        world.backend,
        lambda loaded: batcher(loaded.runner, cost=slow if loaded.manifest.name == "busy" else None),
        world.metrics,
        keep=1,
        needs_models=True,
    )
    world = replace(world, catalog=catalog)
    for name in ("busy", "spare"):
        world.add(name, says(0.5))
    router = await world.router("routes: {a: {target: busy, fallback: [spare]}, b: busy}")
    at_work = await router.admit(context(), ModelRef("busy"))
    came: list[Arrivals] = []
    count = Arrivals.observe

    def spy(arrivals: Arrivals, rows: int, now: float) -> None:
        came.append(arrivals)
        count(arrivals, rows, now)

    monkeypatch.setattr(Arrivals, "observe", spy)
    assert router.find_overload(context(0.5), ModelRef("a")) is None
    (await router.admit(context(0.5), ModelRef("a"))).release(InvalidInput("no image"))
    busy = catalog.find(ModelRef("busy")).batcher._arrivals
    assert came.count(busy) == 1 and len(came) == 2
    refused = router.find_overload(context(0.5), ModelRef("b"))
    assert refused is not None and refused.ref == ModelRef("busy", 1)
    assert came.count(busy) == 2
    at_work.release(InvalidInput("no image"))


@pytest.mark.parametrize(("routes", "target"), [("{}", "m"), ("{a: {target: gone, fallback: [m]}}", "a")])
@pytest.mark.parametrize("while_parsing", [True, False])
async def test_what_was_refused_needs_no_collection(
    world: World, routes: str, target: str, while_parsing: bool
) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(f"routes: {routes}")
    request = body(columns=3 if while_parsing else 5)
    left = weakref.ref(request.inputs["x"])

    async def refuse(request: PredictRequest) -> None:
        async with predictor.admit(context(), ModelRef(target)) as admitted:
            if while_parsing:
                raise InvalidInput(f"{request.inputs['x'].shape[1]} columns")
            await admitted.predict(request)

    gc.disable()
    try:
        refusing = refuse(request)
        del request
        with pytest.raises(InvalidInput):
            await refusing
        del refusing
        assert left() is None
    finally:
        gc.enable()
