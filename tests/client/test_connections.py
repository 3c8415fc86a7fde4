"""How many connections a client opens, who waits for one, and how they end."""

import asyncio
import multiprocessing
import os
import ssl
import threading
from pathlib import Path

import httpx
import pytest

from image_model_client import AsyncClient, Client, DeadlineExceeded, Unreachable
from tests.support.certificates import Authority
from tests.support.scripted_http import LABEL, Answer, scripted


def hold(event: threading.Event) -> Answer:
    return Answer(body=LABEL.body, headers=LABEL.headers, hold=event)


def test_calls_one_after_the_other_share_a_connection() -> None:
    with scripted(LABEL) as service, Client(service.url) as client:
        for _ in range(20):
            client.predict("m", b"x")
        assert len(service.connections) == 1


async def test_async_calls_one_after_the_other_share_a_connection() -> None:
    with scripted(LABEL) as service:
        async with AsyncClient(service.url) as client:
            for _ in range(20):
                await client.predict("m", b"x")
        assert len(service.connections) == 1


def test_many_images_open_no_more_connections_than_the_client_may_have() -> None:
    with scripted(LABEL) as service, Client(service.url, connections=3) as client:
        assert all(outcome.prediction for outcome in client.predict_many("m", [b"x"] * 200, concurrency=12))
        assert len(service.connections) <= 3


async def test_many_images_open_no_more_async_connections_than_the_client_may_have() -> None:
    with scripted(LABEL) as service:
        async with AsyncClient(service.url, connections=3) as client:
            outcomes = [outcome async for outcome in client.predict_many("m", [b"x"] * 200, concurrency=12)]
        assert all(outcome.prediction for outcome in outcomes) and len(service.connections) <= 3


def test_who_finds_no_free_connection_waits_until_its_deadline() -> None:
    held = threading.Event()
    with scripted(hold(held)) as service, Client(service.url, connections=1) as client:
        answers: list[str] = []
        first = threading.Thread(target=lambda: answers.append(client.predict("m", b"x").label))
        first.start()
        assert service.arrived.acquire(timeout=30)
        with pytest.raises(DeadlineExceeded):
            client.predict("m", b"x", deadline=0.2)
        held.set()
        first.join(30)
        assert answers == ["cat"]
        assert client.predict("m", b"x").label == "cat"  # the one connection is free again
        assert len(service.asked) == 2


async def test_who_finds_no_free_async_connection_waits_until_its_deadline() -> None:
    held = threading.Event()
    with scripted(hold(held)) as service:
        async with AsyncClient(service.url, connections=1) as client:
            first = asyncio.create_task(client.predict("m", b"x"))
            assert await asyncio.to_thread(service.arrived.acquire, timeout=30)
            with pytest.raises(DeadlineExceeded):
                await client.predict("m", b"x", deadline=0.2)
            held.set()
            assert (await first).label == "cat"
            assert (await client.predict("m", b"x")).label == "cat"
            assert len(service.asked) == 2


async def test_a_cancelled_call_gives_its_connection_back() -> None:
    held = threading.Event()
    with scripted(hold(held), LABEL) as service:
        async with AsyncClient(service.url, connections=1) as client:
            first = asyncio.create_task(client.predict("m", b"x"))
            assert await asyncio.to_thread(service.arrived.acquire, timeout=30)
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert (await client.predict("m", b"x", deadline=30)).label == "cat"


def test_a_closed_client_asks_nobody() -> None:
    with scripted(LABEL) as service:
        used, fresh = Client(service.url), Client(service.url)
        used.predict("m", b"x")
        for client in (used, fresh):
            client.close()
            with pytest.raises(RuntimeError, match="closed"):
                client.predict("m", b"x")
        assert len(service.asked) == 1


def test_a_transport_of_the_callers_carries_every_request() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(200, content=LABEL.body)

    with Client("http://nowhere.test", transport=httpx.MockTransport(answer)) as client:
        assert all(outcome.prediction for outcome in client.predict_many("m", [b"x"] * 9))
    assert len(seen) == 9


@pytest.mark.filterwarnings("ignore:`cert=")
def test_connections_share_what_the_caller_trusts_and_shows(tmp_path: Path) -> None:
    authority = Authority("ours")
    ours = tmp_path / "ours.pem"
    ours.write_bytes(authority.pem)
    shown = tuple(map(str, authority.signs("client").write(tmp_path, "client")))
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=ours)
    tls.verify_mode = ssl.CERT_REQUIRED
    tls.load_cert_chain(*authority.signs("server").write(tmp_path, "server"))
    trusted = ssl.create_default_context(cafile=ours)
    with scripted(LABEL, tls=tls) as service:
        with pytest.raises(Unreachable, match="certificate"), Client(service.url, retries=0) as stranger:
            stranger.predict("m", b"x")
        with Client(service.url, connections=3, verify=trusted, cert=shown) as client:
            assert all(outcome.prediction for outcome in client.predict_many("m", [b"x"] * 30))


def test_threads_that_ask_again_at_once_take_turns_with_those_that_wait() -> None:
    with scripted(LABEL) as service, Client(service.url, connections=1) as client:
        start = threading.Barrier(2)

        def ask(model: str) -> None:
            start.wait(30)
            for _ in range(20):
                client.predict(model, b"x")

        threads = [threading.Thread(target=ask, args=(model,)) for model in "ab"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        paths = [path.partition("?")[0] for path, _ in service.asked]
        other = "/predict/b" if paths[-1] == "/predict/a" else "/predict/a"  # whoever was through first
        assert paths[: len(paths) - paths[::-1].index(other)].count(paths[-1]) > 4


async def test_tasks_that_ask_again_at_once_take_turns_with_those_that_wait() -> None:
    with scripted(LABEL) as service:
        async with AsyncClient(service.url, connections=1) as client:

            async def ask(model: str) -> None:
                for _ in range(10):
                    await client.predict(model, b"x")

            await asyncio.gather(ask("a"), ask("b"))
        assert [path.partition("?")[0] for path, _ in service.asked] == ["/predict/a", "/predict/b"] * 10


async def test_a_call_cancelled_while_it_waits_takes_no_connection_with_it() -> None:
    held = threading.Event()
    with scripted(hold(held), LABEL) as service:
        async with AsyncClient(service.url, connections=1) as client:
            first = asyncio.create_task(client.predict("m", b"x"))
            assert await asyncio.to_thread(service.arrived.acquire, timeout=30)
            waiting = [asyncio.create_task(client.predict("m", b"x")) for _ in range(40)]
            await asyncio.sleep(0)  # all of them are in line
            for task in waiting[::2]:
                task.cancel()
            held.set()
            await first
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            assert sum(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes) == 20
            assert (await client.predict("m", b"x", deadline=30)).label == "cat"
            assert len(service.asked) == 22


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_has_connections_of_its_own() -> None:
    with scripted(LABEL) as service, Client(service.url) as client:
        client.predict("m", b"x")
        child = multiprocessing.get_context("fork").Process(target=client.predict, args=("m", b"x"))
        child.start()
        child.join(30)
        client.predict("m", b"x")
        assert child.exitcode == 0 and len(service.asked) == 3 and len(service.connections) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_asks_with_connections_of_its_own_for_asyncio() -> None:
    with scripted(LABEL) as service:
        client = AsyncClient(service.url, connections=1)

        def ask() -> None:
            assert asyncio.run(client.predict("m", b"x")).label == "cat"

        ask()
        child = multiprocessing.get_context("fork").Process(target=ask)
        child.start()
        child.join(30)
        assert child.exitcode == 0 and len(service.asked) == 2 and len(service.connections) == 2
