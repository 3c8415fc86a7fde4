"""Attempts, budget, hedging and health, against real gRPC servers that fail as they are told."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import grpc
import numpy as np
import pytest

from service.backends.tfserving.backend import TFServingBackend
from service.errors import BackendFailed, DeadlineExceeded, InvalidInput, NotReady, ServiceError, Unloaded
from tests.support.fake_tfserving import Scripted, backend_of, failing, predict, serving, slow

pytestmark = pytest.mark.alone

X = np.array([[1.0], [2.0]], np.float32)
Y = [[2.5], [3.0]]


async def runner_of(backend: TFServingBackend) -> Any:
    assert await backend.look_up("m1")
    return (await backend.load("m1", 1)).runner


async def until(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        await asyncio.sleep(0.02)


def report(backend: TFServingBackend, server: Scripted) -> Any:
    (found,) = [each for each in backend.report_replicas() if each.replica == f"127.0.0.1:{server.port}"]
    return found


async def test_work_is_shared() -> None:
    servers = Scripted(slow(0.002)), Scripted(slow(0.002)), Scripted(slow(0.002))
    async with serving(*servers), backend_of(*servers) as backend:
        runner = await runner_of(backend)
        answers = await asyncio.gather(*(predict(runner, X) for _ in range(300)))
        assert all(answer.tolist() == Y for answer in answers)
        assert all(server.answered > 50 for server in servers), [server.answered for server in servers]
        assert runner.slots == 3 * 4


@pytest.mark.parametrize(
    "code", [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL, grpc.StatusCode.RESOURCE_EXHAUSTED]
)
async def test_a_failing_replica_costs_no_request(code: grpc.StatusCode) -> None:
    bad, good = Scripted(failing(code)), Scripted()
    async with serving(bad, good), backend_of(bad, good) as backend:
        runner = await runner_of(backend)
        for _ in range(10):
            answers = await asyncio.gather(*(predict(runner, X) for _ in range(10)))
            assert all(answer.tolist() == Y for answer in answers)
        assert good.answered == 100 and bad.started > 0
        if code is not grpc.StatusCode.RESOURCE_EXHAUSTED:  # busy is not broken
            assert bad.started < 30 and report(backend, bad).failures == bad.started
            assert not report(backend, bad).healthy


async def test_the_requests_own_fault_is_not_tried_twice() -> None:
    servers = [Scripted(failing(grpc.StatusCode.INVALID_ARGUMENT)) for _ in range(2)]
    async with serving(*servers), backend_of(*servers) as backend:
        runner = await runner_of(backend)
        for _ in range(20):
            with pytest.raises(InvalidInput, match="as told"):
                await predict(runner, X)
        assert sum(server.started for server in servers) == 20
        assert all(each.healthy for each in backend.report_replicas())


async def test_when_all_fail_retries_stay_within_the_budget() -> None:
    servers = [Scripted(failing(grpc.StatusCode.INTERNAL)) for _ in range(3)]
    async with serving(*servers), backend_of(*servers) as backend:
        runner = await runner_of(backend)

        async def one() -> None:
            with pytest.raises(BackendFailed):
                await predict(runner, X)

        for _ in range(20):
            await asyncio.gather(*(one() for _ in range(50)))
        total = sum(server.started for server in servers)
        # A fifth more, and the reserve for sudden deaths once.
        assert 1000 < total <= 1000 * 1.2 + 100
        for _ in range(20):
            await asyncio.gather(*(one() for _ in range(50)))
        assert sum(server.started for server in servers) - total <= 1000 * 1.2


async def test_a_dead_replica_is_out_and_comes_back_on_its_port() -> None:
    one, other = Scripted(), Scripted()
    async with serving(one, other), backend_of(one, other) as backend:
        runner = await runner_of(backend)
        for _ in range(20):
            await predict(runner, X)
        await one.stop()
        deadline = time.monotonic() + 20
        while report(backend, one).healthy:
            answers = await asyncio.gather(*(predict(runner, X) for _ in range(8)))
            assert all(answer.tolist() == Y for answer in answers) and time.monotonic() < deadline
        address = f"127.0.0.1:{one.port}"
        again = Scripted()
        await again.start(address)

        async def back() -> bool:
            assert (await predict(runner, X)).tolist() == Y
            return bool(report(backend, again).healthy)

        deadline = time.monotonic() + 20
        while not await back():
            assert time.monotonic() < deadline
            await asyncio.sleep(0.02)
        assert again.answered > 0
        await again.stop()


async def test_nobody_there_is_not_ready_and_the_log_names_who() -> None:
    server = Scripted()
    async with serving(server), backend_of(server) as backend:
        runner = await runner_of(backend)
        await server.stop()
        for _ in range(3):
            with pytest.raises(NotReady, match="no upstream could answer") as refused:
                await predict(runner, X)
            assert f"127.0.0.1:{server.port}" in refused.value.for_log
        await server.start(f"127.0.0.1:{server.port}")


async def test_a_silent_replica_costs_one_patience_and_is_ejected() -> None:
    hung, good = Scripted(), Scripted()
    async with serving(hung, good), backend_of(hung, good) as backend:
        runner = await runner_of(backend)
        for _ in range(40):
            await predict(runner, X)
        hung.behave = slow(60)
        started = time.monotonic()
        answers = await asyncio.gather(*(predict(runner, X, None) for _ in range(20)))
        assert all(answer.tolist() == Y for answer in answers)
        assert time.monotonic() - started < 5  # eight times the slowest answer; 0.5 s on an idle machine
        assert not report(backend, hung).healthy and report(backend, good).retries > 0
        # A status call would still succeed here: a request on trial finds out, and costs its patience again.
        await until(lambda: hung.cancelled > 0)


async def test_a_short_deadline_leaves_time_for_another_replica() -> None:
    hung, good = Scripted(), Scripted()
    async with serving(hung, good), backend_of(hung, good) as backend:
        runner = await runner_of(backend)
        for _ in range(40):
            await predict(runner, X)
        hung.behave = slow(60)
        for _ in range(8):
            assert (await predict(runner, X, 2.0)).tolist() == Y


async def test_the_deadline_is_kept_where_nobody_answers() -> None:
    hung = Scripted(slow(60))
    async with serving(hung), backend_of(hung) as backend:
        runner = await runner_of(backend)
        started = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="the upstream did not answer in time") as late:
            await predict(runner, X, 0.3)
        assert f"127.0.0.1:{hung.port} did not answer in time" in late.value.for_log
        assert 0.25 < time.monotonic() - started < 3
        await until(lambda: hung.cancelled == 1)
        assert report(backend, hung).outstanding == 0


async def test_a_hedge_takes_the_first_answer_and_cancels_the_other() -> None:
    servers = Scripted(), Scripted()
    async with serving(*servers), backend_of(*servers, hedge_after=0.05) as backend:
        runner = await runner_of(backend)
        lazy, quick = servers
        lazy.behave = slow(30)
        for _ in range(6):
            started = time.monotonic()
            assert (await predict(runner, X)).tolist() == Y
            assert time.monotonic() - started < 5
        assert quick.answered == 6 and lazy.started > 0
        await until(lambda: lazy.cancelled == lazy.started)
        assert report(backend, quick).hedges == lazy.started
        assert report(backend, lazy).outstanding == report(backend, quick).outstanding == 0


async def test_no_hedge_by_default() -> None:
    servers = Scripted(slow(0.3)), Scripted(slow(0.3))
    async with serving(*servers), backend_of(*servers) as backend:
        await predict(await runner_of(backend), X)
        assert sum(server.started for server in servers) == 1


async def test_a_cancelled_request_is_cancelled_upstream() -> None:
    server = Scripted(slow(30))
    async with serving(server), backend_of(server) as backend:
        task = asyncio.create_task(predict(await runner_of(backend), X))
        await until(lambda: server.started == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: server.cancelled == 1)
        assert report(backend, server).outstanding == 0 and report(backend, server).healthy


async def test_a_slow_replica_gets_little() -> None:
    snail, *others = servers = Scripted(slow(0.3)), Scripted(), Scripted()
    async with serving(*servers), backend_of(*servers) as backend:
        runner = await runner_of(backend)
        for _ in range(60):
            answers = await asyncio.gather(*(predict(runner, X) for _ in range(12)))
            assert all(answer.tolist() == Y for answer in answers)
        assert 0 < snail.answered < 0.1 * sum(server.answered for server in others)


async def test_requests_go_only_where_their_version_is() -> None:
    old, new = Scripted(), Scripted()
    old.models, new.models = {"m1": {1}}, {"m1": {2}}
    async with serving(old, new), backend_of(old, new) as backend:
        assert await backend.look_up("m1")
        assert set((await backend.find())["m1"]) == {1, 2}
        one, two = [(await backend.load("m1", version)).runner for version in (1, 2)]
        for _ in range(20):
            await predict(one, X)
            await predict(two, X)
        assert set(old.seen) == {1} and set(new.seen) == {2}


async def test_a_version_that_moves_away_is_looked_for_elsewhere() -> None:
    moving, staying = Scripted(), Scripted()
    async with serving(moving, staying), backend_of(moving, staying) as backend:
        runner = await runner_of(backend)
        moving.models = {"m1": {2}}  # between two looks
        for _ in range(20):
            assert (await predict(runner, X)).tolist() == Y
        assert moving.started - moving.answered == 1, "it is asked once, and then known not to have it"
        staying.models = {"m1": {2}}
        with pytest.raises(Unloaded):
            await predict(runner, X)


@pytest.mark.slow
async def test_dns_may_change() -> None:
    """The resolver is ours here; addresses of 127.0.0.0/8 are as many hosts."""
    first, second = Scripted(), Scripted()
    await first.start("127.0.0.2:0")
    await second.start(f"127.0.0.3:{first.port}")
    names = {"models.svc": ["127.0.0.2"]}

    async def resolve(host: str, port: int) -> list[str]:
        if host not in names:
            raise OSError("no such host")
        return names[host]

    try:
        async with backend_of(target=f"models.svc:{first.port}", resolve=resolve) as backend:
            runner = await runner_of(backend)
            stop, failures = False, list[ServiceError]()

            async def client() -> None:
                while not stop:
                    try:
                        await predict(runner, X)
                    except ServiceError as error:
                        failures.append(error)
                    await asyncio.sleep(0.005)

            clients = [asyncio.create_task(client()) for _ in range(4)]
            await until(lambda: first.answered > 20)
            names["models.svc"] = ["127.0.0.2", "127.0.0.3"]
            await until(lambda: second.answered > 20)
            names["models.svc"] = ["127.0.0.3"]
            await until(lambda: len(backend.report_replicas()) == 1)
            before = first.started
            await asyncio.sleep(0.2)
            assert first.started == before
            del names["models.svc"]  # DNS itself fails: who was there stays
            answered = second.answered
            await asyncio.sleep(4)
            assert second.answered > answered
            stop = True
            await asyncio.gather(*clients)
            assert failures == []
    finally:
        await first.stop()
        await second.stop()


async def test_a_unix_socket(tmp_path: Any) -> None:
    server = Scripted()
    await server.start(f"unix:{tmp_path}/tf.sock")
    try:
        async with backend_of(target=f"unix:{tmp_path}/tf.sock") as backend:
            assert (await predict(await runner_of(backend), X)).tolist() == Y
            assert backend.report_replicas()[0].replica == f"unix:{tmp_path}/tf.sock"
    finally:
        await server.stop()


async def test_a_server_that_shuts_down_in_order_fails_nothing() -> None:
    leaving, staying = Scripted(slow(0.05)), Scripted(slow(0.05))
    async with serving(leaving, staying), backend_of(leaving, staying) as backend:
        runner = await runner_of(backend)
        stop, answered = False, 0

        async def client() -> None:
            nonlocal answered
            while not stop:
                assert (await predict(runner, X)).tolist() == Y
                answered += 1

        clients = [asyncio.create_task(client()) for _ in range(8)]
        await until(lambda: leaving.answered > 5)
        await leaving.stop(5)
        seen = answered
        await until(lambda: answered > seen + 50)
        stop = True
        await asyncio.gather(*clients)
        await leaving.start(f"127.0.0.1:{leaving.port}")
