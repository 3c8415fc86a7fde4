"""What is true of every request, whatever its protocol: counted, timed, inside its deadline, leaving nothing behind."""

import asyncio

import pytest

from service.errors import BackendFailed, Cancelled, DeadlineExceeded, InvalidInput, Overloaded
from service.predictor import Predictor
from service.types import ModelRef
from tests.support.routing_world import World, body, context, hangs, says, until

ROUTES = "routes: {a: {target: m, max_in_flight: 1}}"


def count(world: World, code: str, model: str = "m") -> float:
    version = "1" if model else ""
    labels = f'code="{code}",model="{model}",protocol="http",version="{version}"'
    return world.value(f"model_server_requests_total{{{labels}}}")


async def predict(predictor: Predictor, asked: str = "a") -> None:
    async with predictor.admit(context(), ModelRef(asked)) as admitted:
        await admitted.predict(body())


async def test_the_time_to_parse_is_told_apart_from_the_models(world: World) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(ROUTES)
    asked = context()
    async with predictor.admit(asked, ModelRef("a")) as admitted:
        assert admitted.manifest.name == "m" and predictor.in_flight == 1
        await asyncio.sleep(0.05)
        result = await admitted.predict(body())
    assert 0.05 <= result.timings.read < result.timings.total
    assert result.ref == ModelRef("a", 1) and asked.trace.ref == ModelRef("m", 1)
    assert predictor.in_flight == 0 and count(world, "OK") == 1


async def test_a_body_that_takes_longer_than_the_deadline_ends_its_request(world: World) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(ROUTES, latency_slo=0.05)
    with pytest.raises(DeadlineExceeded):
        async with predictor.admit(context(), ModelRef("a")):
            await asyncio.Event().wait()
    assert predictor.in_flight == 0 and count(world, "DEADLINE") == 1
    await predict(predictor)  # the place is free


@pytest.mark.parametrize("error", [InvalidInput("no image"), RuntimeError("a fault of ours")])
async def test_what_is_wrong_with_a_body_is_counted_for_the_version_it_was_for(world: World, error: Exception) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(ROUTES)
    expected = InvalidInput if isinstance(error, InvalidInput) else BackendFailed
    with pytest.raises(expected) as raised:
        async with predictor.admit(context(), ModelRef("a")):
            raise error
    assert predictor.in_flight == 0 and count(world, raised.value.code) == 1
    await predict(predictor)


async def test_whoever_is_admitted_and_asks_nothing_is_a_fault(world: World) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(ROUTES)
    with pytest.raises(BackendFailed):
        async with predictor.admit(context(), ModelRef("m")):
            pass
    assert count(world, "BACKEND") == 1


@pytest.mark.parametrize("while_parsing", [True, False])
async def test_a_cancelled_request_leaves_no_trace_in_any_queue(world: World, while_parsing: bool) -> None:
    runner = world.add("m", hangs)
    predictor = await world.predictor(ROUTES)
    parsing = asyncio.Event()

    async def ask() -> None:
        async with predictor.admit(context(), ModelRef("a")) as admitted:
            parsing.set()
            if while_parsing:
                await asyncio.Event().wait()
            await admitted.predict(body())

    task = asyncio.create_task(ask())
    await parsing.wait()
    await until(lambda: while_parsing or runner.running == 1)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert predictor.in_flight == 0 and count(world, "CANCELLED") == 1
    await until(lambda: runner.running == 0)
    assert (await predictor._router.admit(context(), ModelRef("a"))).manifest.name == "m", "its place is free"


async def test_too_many_at_once_are_refused_before_anything_else(world: World) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor("routes: {}", max_in_flight=1)
    async with predictor.admit(context(), ModelRef("m")) as admitted:
        with pytest.raises(Overloaded, match="1 request under way"):
            await predict(predictor, "m")
        assert isinstance(predictor.refuse(context(), ModelRef("m")), Overloaded)
        await admitted.predict(body())
    assert count(world, "OVERLOADED", "") == 2 and predictor.refuse(context(), ModelRef("m")) is None


async def test_a_fault_while_an_answer_is_written_is_no_second_outcome(world: World) -> None:
    world.add("m", says(0.9))
    predictor = await world.predictor(ROUTES)
    with pytest.raises(Cancelled):
        async with predictor.admit(context(), ModelRef("a")) as admitted:
            await admitted.predict(body())
            raise Cancelled("the client went away")
    assert count(world, "OK") == 1 and count(world, "CANCELLED") == 0 and predictor.in_flight == 0
