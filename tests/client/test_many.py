"""Many images: order, how many are in hand, and how a loop ends that is left early."""

import asyncio
import itertools
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from threading import Event

import pytest

from image_model_client import AsyncClient, Client, NotFound, UnreadableImage
from tests.support.client_command import ENVIRONMENT
from tests.support.scripted_http import LABEL, Answer, scripted
from tests.support.service_process import Service

_SLOW = """
import sys
from image_model_client import Client
for outcome in Client(sys.argv[1]).predict_many("m", [b"x"] * 99):
    print(outcome)
"""


def count_threads() -> int:
    return sum(thread.name.startswith("predict") for thread in threading.enumerate())


def test_outcomes_come_in_order_and_failures_keep_their_place(client: Client, digits: list[Path]) -> None:
    sources = [*digits, Path("no/such.jpg"), *digits]
    outcomes = list(client.predict_many("lenet5", sources, top_k=1))
    assert [outcome.source for outcome in outcomes] == sources
    missing = outcomes.pop(len(digits))
    assert isinstance(missing.error, UnreadableImage) and missing.prediction is None
    single = [client.predict("lenet5", source, top_k=1).top_k for source in [*digits, *digits]]
    assert [outcome.prediction and outcome.prediction.top_k for outcome in outcomes] == single


async def test_the_async_client_keeps_order_too(service: Service, client: Client, digits: list[Path]) -> None:
    sources = [*digits, Path("no/such.jpg"), *digits]
    async with AsyncClient(service.url) as twin:
        outcomes = [outcome async for outcome in twin.predict_many("lenet5", sources)]
    assert [outcome.source for outcome in outcomes] == sources
    assert [outcome.prediction and outcome.prediction.top_k for outcome in outcomes] == [
        outcome.prediction and outcome.prediction.top_k for outcome in client.predict_many("lenet5", sources)
    ]


def test_an_endless_source_is_taken_from_as_answers_are(digits: list[Path], client: Client) -> None:
    taken = itertools.count()

    def endless() -> Iterator[Path]:
        for path in itertools.cycle(digits):
            next(taken)
            yield path

    outcomes = client.predict_many("lenet5", endless(), concurrency=3)
    for _ in range(20):
        assert next(outcomes).prediction
    assert next(taken) <= 20 + 2 * 3
    assert count_threads() == 3
    outcomes.close()  # type: ignore[attr-defined] # it is a generator
    assert count_threads() == 0


def test_a_loop_that_is_left_leaves_no_threads_although_some_wait_to_ask_again() -> None:
    later = Answer(429, headers={"Retry-After": "50"})
    with scripted(later) as service, Client(service.url) as client:
        for outcome in client.predict_many("m", ["no/such.jpg", *[b"x"] * 99], concurrency=4):
            assert isinstance(outcome.error, UnreadableImage)
            break
        assert count_threads() == 0


def test_concurrency_is_as_many_as_are_asked_at_once() -> None:
    hold = Event()
    with scripted(Answer(body=LABEL.body, hold=hold)) as service, Client(service.url, connections=8) as client:
        done: list[int] = []
        loop = threading.Thread(target=lambda: done.append(len(list(client.predict_many("m", [b"x"] * 50)))))
        loop.start()
        for _ in range(8):
            assert service.arrived.acquire(timeout=30)
        assert not service.arrived.acquire(timeout=0.2) and len(service.asked) == 8
        hold.set()
        loop.join(30)
        assert done == [50]


def test_one_error_of_a_source_is_raised_where_it_happens_and_leaves_no_threads() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise RuntimeError("the disk is gone")

    with scripted(LABEL) as service, Client(service.url) as client:
        with pytest.raises(RuntimeError, match="the disk is gone"):
            list(client.predict_many("m", broken()))
        assert count_threads() == 0


def test_a_model_that_is_not_there_is_said_of_each(client: Client, seven: Path) -> None:
    outcomes = list(client.predict_many("no_model", [seven] * 3))
    assert [type(outcome.error) for outcome in outcomes] == [NotFound] * 3


def test_progress_is_drawn_on_stderr(client: Client, digits: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert len(list(client.predict_many("lenet5", digits, progress=True))) == len(digits)
    shown = capsys.readouterr()
    assert f"{len(digits)}/{len(digits)}" in shown.err and shown.out == ""


def test_ctrl_c_does_not_wait_for_a_service_that_hangs() -> None:
    with scripted(Answer(hold=Event())) as service:
        command = [sys.executable, "-c", _SLOW, service.url]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT)
        assert service.arrived.acquire(timeout=60)
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
        assert b"KeyboardInterrupt" in errors


async def test_a_cancelled_loop_cancels_what_is_under_way() -> None:
    with scripted(LABEL, Answer(hold=Event())) as service:
        async with AsyncClient(service.url, connections=4) as client:

            async def loop() -> None:
                async with aclosing(client.predict_many("m", [b"x"] * 99)) as outcomes:  # type: ignore[type-var]
                    async for _ in outcomes:
                        pass

            call = asyncio.create_task(loop())
            for _ in range(4):
                await asyncio.to_thread(service.arrived.acquire, timeout=30)
            call.cancel()
            with pytest.raises(asyncio.CancelledError):
                await call
            assert asyncio.all_tasks() == {asyncio.current_task()}
