"""Shared computations: one run for all who ask the same, and nobody's leaving or lateness is another's."""

import asyncio
import gc
import random
import time
from collections.abc import Callable, Coroutine
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import BackendFailed, DeadlineExceeded, InvalidInput, Overloaded
from service.models.singleflight import Coalescing, identity
from service.types import PredictRequest, strings

Run = Callable[[], Coroutine[Any, Any, str]]


class Work:
    """Runs that wait for `gate`, counted."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.started = self.cancelled = 0

    def run(self, result: str | Exception = "done") -> Run:
        async def work() -> str:
            self.started += 1
            try:
                await self.gate.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
                raise
            if isinstance(result, Exception):
                raise result
            return result

        return work


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


def ask(target: Coalescing[str], run: Run, key: str = "k", deadline: float | None = None) -> "asyncio.Task[Any]":
    return asyncio.create_task(target.share(key, deadline, run))


@pytest.mark.parametrize("first", ["the run fails", "its caller leaves"])
async def test_a_run_that_fails_as_its_last_caller_leaves_is_no_mistake_of_ours(first: str) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    began, gate = asyncio.Event(), asyncio.Event()

    async def work() -> str:
        began.set()
        try:
            await gate.wait()
        except asyncio.CancelledError:
            raise DeadlineExceeded("late") from None
        raise DeadlineExceeded("late")

    caller = ask(target := Coalescing[str](), work)
    await began.wait()
    if first == "the run fails":
        gate.set()
        while len(target):
            await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises((asyncio.CancelledError, DeadlineExceeded)):
        await caller
    await settle()
    del caller
    gc.collect()
    assert said == []


async def test_who_asks_the_same_shares_one_run() -> None:
    work, target = Work(), Coalescing[str]()
    same = [ask(target, work.run()) for _ in range(5)]
    other = ask(target, work.run("another"), key="other")
    await settle()
    assert work.started == 2
    work.gate.set()
    assert sorted(await asyncio.gather(*same)) == [("done", False)] + [("done", True)] * 4
    assert await other == ("another", False)
    assert len(target) == 0
    assert await target.share("k", None, work.run()) == ("done", False) and work.started == 3


@pytest.mark.parametrize("leaver", [0, 1])
async def test_one_that_leaves_leaves_the_others_alone(leaver: int) -> None:
    work, target = Work(), Coalescing[str]()
    callers = [ask(target, work.run()) for _ in range(3)]
    await settle()
    callers[leaver].cancel()
    await settle()
    assert callers[leaver].cancelled() and work.cancelled == 0
    work.gate.set()
    stayed = [caller for caller in callers if caller is not callers[leaver]]
    assert [outcome for outcome, _ in await asyncio.gather(*stayed)] == ["done", "done"] and work.started == 1


async def test_when_all_have_left_the_run_ends_and_the_next_begins_anew() -> None:
    work, target = Work(), Coalescing[str]()
    callers = [ask(target, work.run()) for _ in range(3)]
    await settle()
    for caller in callers:
        caller.cancel()
    await asyncio.sleep(0)
    late = ask(target, work.run())  # while the old run is being cancelled
    await settle()
    assert work.cancelled == 1 and work.started == 2 and not late.done()
    work.gate.set()
    assert await late == ("done", False) and len(target) == 0


@pytest.mark.parametrize("failure", [InvalidInput("bad image", row=0), BackendFailed("broken"), RuntimeError("a bug")])
async def test_a_failure_is_everybodys(failure: Exception) -> None:
    work, target = Work(), Coalescing[str]()
    callers = [ask(target, work.run(failure)) for _ in range(3)]
    await settle()
    work.gate.set()
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert work.started == 1 and {type(result) for result in results} == {type(failure)}
    if isinstance(failure, InvalidInput):
        assert all(isinstance(result, InvalidInput) and result.detail == {"row": 0} for result in results)
        assert len(set(map(id, results))) == 3, "each raises its own"


@pytest.mark.parametrize("failure", [DeadlineExceeded("late"), Overloaded("not in time")])
async def test_a_lack_of_time_is_ones_own(failure: Exception) -> None:
    work, target = Work(), Coalescing[str]()
    now = time.monotonic()
    hurried = ask(target, work.run(failure), deadline=now + 1)
    await settle()
    as_hurried = ask(target, work.run(), deadline=now + 1)
    patient = [ask(target, work.run("in time"), deadline=deadline) for deadline in (now + 9, None)]
    work.gate.set()
    for caller in (hurried, as_hurried):
        with pytest.raises(type(failure)):
            await caller
    assert {outcome for outcome, _ in await asyncio.gather(*patient)} == {"in time"}
    assert work.started == 2, "those with more time share again"


async def test_nobody_tries_for_ever() -> None:
    target, tries = Coalescing[str](), 0

    async def refused() -> str:
        nonlocal tries
        tries += 1
        await asyncio.sleep(0)
        raise Overloaded("full")

    now = time.monotonic()
    callers = [ask(target, refused, deadline=now + second) for second in range(1, 101)]
    results = await asyncio.gather(*callers, return_exceptions=True)
    assert all(isinstance(result, Overloaded) for result in results) and tries <= 300


@settings(max_examples=8, deadline=None)
@given(seed=st.integers(0, 2**32))
def test_a_storm(seed: int) -> None:
    """Each of a thousand gets its own key's answer or failure, or cancellation; a key never runs twice at once."""
    chance = random.Random(seed)
    broken = {key for key in range(40) if chance.random() < 0.1}
    running: set[int] = set()
    runs = 0

    def work(key: int) -> Callable[[], Coroutine[Any, Any, str]]:
        async def run() -> str:
            nonlocal runs
            assert key not in running, "two runs of a key at once"
            running.add(key)
            runs += 1
            try:
                await asyncio.sleep(chance.random() * 0.005)
            finally:
                running.discard(key)
            if key in broken:
                raise BackendFailed(f"{key} is broken")
            return f"answer {key}"

        return run

    async def call(target: Coalescing[str], key: int) -> str:
        await asyncio.sleep(chance.random() * 0.05)
        try:
            answer, _ = await target.share(key, None, work(key))
        except BackendFailed as error:
            assert key in broken and error.message == f"{key} is broken"
            return "failed"
        assert answer == f"answer {key}"
        return "answered"

    async def scenario() -> None:
        target = Coalescing[str]()
        tasks = [asyncio.create_task(call(target, chance.randrange(40))) for _ in range(1000)]
        cancelled = []
        for task in chance.sample(tasks, 300):
            await asyncio.sleep(0.0001)
            if task.cancel():
                cancelled.append(task)
        results = await asyncio.gather(*tasks, return_exceptions=True)
        for task, result in zip(tasks, results, strict=True):
            assert result in ("answered", "failed") or (
                isinstance(result, asyncio.CancelledError) and task in cancelled
            ), result
        await asyncio.sleep(0.01)
        assert len(target) == 0 and not running
        assert 40 <= runs < results.count("answered") + results.count("failed")

    asyncio.run(scenario())


def request(*images: bytes, **more: Any) -> PredictRequest:
    return PredictRequest({"": strings(list(images))}, **more)


def numbers(values: Any, dtype: str = "float32") -> PredictRequest:
    return PredictRequest({"x": np.asarray(values, dtype)})


def test_what_is_identical() -> None:
    assert identity(request(b"a", b"b")) == identity(request(b"a", b"b"))
    assert identity(request(b"a", outputs=("p", "q"))) == identity(request(b"a", outputs=("q", "p")))
    assert identity(numbers([[1, 2]])) == identity(numbers([[1, 2]]))
    different = [
        request(b"a"),
        request(b"b"),
        request(b"a", b"b"),
        request(b"a", signature="image"),
        request(b"a", outputs=("p",)),
        PredictRequest({"other": strings([b"a"])}),
        numbers([[1, 2]]),
        numbers([[1], [2]]),
        numbers([[2, 1]]),
        numbers([[1, 2]], "int32"),
    ]
    assert len({identity(one) for one in different}) == len(different)
