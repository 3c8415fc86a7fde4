"""Shadows: compared, bounded, and never in the way."""

import asyncio
import time

import numpy as np
import pytest

from service.types import ModelRef, Tensors
from tests.support.routing_world import World, ask, cats, fails, hangs, says, until


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
