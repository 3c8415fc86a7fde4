"""Every error by its real cause, what is asked again, and until when."""

import asyncio
import pickle
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from threading import Event

import pytest

from image_model_client import (
    AsyncClient,
    Client,
    DeadlineExceeded,
    Forbidden,
    GrpcClient,
    InvalidRequest,
    NotFound,
    Overloaded,
    Refused,
    ServerFailed,
    Unauthenticated,
    Unreachable,
)
from service.security import api_keys
from tests.support.scripted_http import LABEL, Answer, scripted
from tests.support.service_process import Service, running

HTML = {"Content-Type": "text/html"}


@dataclass(frozen=True)
class Keys:
    """`slow` has one request at once, and another four a second."""

    url: str
    grpc: str
    good: str
    cats_only: str
    slow: str


@pytest.fixture(scope="module")
def keys(lenet5_repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    file = tmp_path_factory.mktemp("client_keys") / "keys.yaml"
    made = [api_keys.make("good"), api_keys.make("cats", ["cats*"]), api_keys.make("slow", rate=4, burst=1)]
    file.write_text("".join(entry for _, entry in made))
    with running("--repository", lenet5_repository, "--api-keys", file) as service:
        service.wait_ready()
        yield Keys(service.url, f"127.0.0.1:{service.grpc_port}", *(secret for secret, _ in made))
        assert service.stop() == 0


def test_keys(keys: Keys, seven: Path) -> None:
    with pytest.raises(Unauthenticated) as none:
        Client(keys.url).predict("lenet5", seven)
    with pytest.raises(Unauthenticated) as wrong:
        Client(keys.url, key="wrong").predict("lenet5", seven)
    with pytest.raises(Forbidden) as forbidden:
        Client(keys.url, key=keys.cats_only).predict("lenet5", seven)
    assert [each.value.status for each in (none, wrong, forbidden)] == [401, 401, 403]
    assert Client(keys.url, key=keys.good).predict("lenet5", seven).label == "7"


def test_a_rate_is_waited_for(keys: Keys, seven: Path) -> None:
    with Client(keys.url, key=keys.slow) as client:
        client.predict("lenet5", seven)
        assert client.predict("lenet5", seven).label == "7"
        with pytest.raises(Overloaded) as caught:
            for _ in range(3):
                Client(keys.url, key=keys.slow, retries=0).predict("lenet5", seven)
    assert caught.value.status == 429 and caught.value.retry_after and caught.value.retry_after <= 1


def test_keys_and_rates_over_grpc(keys: Keys, seven: Path) -> None:
    with pytest.raises(Unauthenticated):
        GrpcClient(keys.grpc).predict("lenet5", seven)
    with pytest.raises(Forbidden):
        GrpcClient(keys.grpc, key=keys.cats_only).predict("lenet5", seven)
    with GrpcClient(keys.grpc, key=keys.slow) as client:
        assert [client.predict("lenet5", seven).label for _ in range(3)] == ["7"] * 3
    with GrpcClient(keys.grpc, key=keys.slow, retries=0) as client, pytest.raises(Overloaded) as caught:
        for _ in range(3):
            client.predict("lenet5", seven)
    assert caught.value.status == 429 and caught.value.retry_after and caught.value.retry_after <= 1


def test_a_model_or_version_that_is_not_there(client: Client, seven: Path) -> None:
    for model, version in (("no_model", None), ("lenet5", 9)):
        with pytest.raises(NotFound, match="lenet5"):
            client.predict(model, seven, version=version)


def test_an_image_that_is_too_large(client: Client) -> None:
    with pytest.raises(InvalidRequest) as caught:
        client.predict("lenet5", b"\x89PNG\r\n\x1a\n" + bytes(5 << 20))
    assert (caught.value.status, caught.value.code) == (413, "TOO_LARGE")


def test_a_service_that_starts_is_waited_for(lenet5_repository: Path, seven: Path) -> None:
    with running("--repository", lenet5_repository) as service:
        url = service.url  # it listens before its models are there
        assert Client(url, retries=100).predict("lenet5", seven, deadline=90).label == "7"


def test_a_service_without_a_model_that_is_ready() -> None:
    with running("--backend", "tfserving", "--target", "127.0.0.1:1") as service:
        address = f"127.0.0.1:{service.grpc_port}"
        for client, code in (
            (Client(service.url, retries=1), "NOT_READY"),
            (GrpcClient(address, retries=1), "UNAVAILABLE"),
        ):
            with client, pytest.raises(Overloaded, match="no upstream answers") as caught:
                client.predict("lenet5", b"x")
            assert (caught.value.status, caught.value.code) == (503, code)


def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(Unreachable, match="is it running, and is the address right"):
        Client(f"http://127.0.0.1:{port}", retries=1).predict("lenet5", b"x")


def test_the_service_keeps_the_deadline(service: Service, client: Client, seven: Path) -> None:
    client.predict("efficientnet_lite0", seven)
    with pytest.raises(DeadlineExceeded) as caught:
        client.predict("efficientnet_lite0", seven, deadline=0.002)
    assert caught.value.status == 504


def test_a_service_that_hangs_is_left_at_the_deadline() -> None:
    with scripted(Answer(hold=Event())) as service, Client(service.url) as client:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            client.predict("m", b"x", deadline=0.2)
        assert time.monotonic() - began < 10
        assert len(service.asked) == 1 and 100 < int(service.asked[0][1]["X-Request-Deadline-Ms"]) <= 200


def test_retries_are_counted_and_end() -> None:
    busy = Answer(429, headers={"Retry-After": "0"})
    with scripted(busy, busy, LABEL) as service, Client(service.url, retries=2) as client:
        assert client.predict("m", b"x").label == "cat"
        assert len(service.asked) == 3
    with scripted(busy) as service, Client(service.url, retries=2) as client:
        with pytest.raises(Overloaded):
            client.predict("m", b"x")
        assert len(service.asked) == 3


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422, 500, 504])
def test_what_no_repetition_mends_is_asked_once(status: int) -> None:
    with scripted(Answer(status)) as service, Client(service.url) as client:
        with pytest.raises(Refused) as caught:
            client.predict("m", b"x")
        assert caught.value.status == status and len(service.asked) == 1


@pytest.mark.parametrize("form", ["seconds", "date", "milliseconds of ours"])
def test_retry_after_is_honoured(form: str) -> None:
    busy = {
        "seconds": lambda: Answer(503, headers={"Retry-After": "0.3"}),
        # A date has whole seconds: between one and two of them are left.
        "date": lambda: Answer(
            503, headers={"Retry-After": format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True)}
        ),
        "milliseconds of ours": lambda: Answer(
            429,
            b'{"error": {"code": "OVERLOADED", "message": "later", "detail": {"retry_after_ms": 300}}}',
            {"Retry-After": "20"},
        ),
    }[form]()
    with scripted(busy, LABEL) as service, Client(service.url) as client:
        began = time.monotonic()
        client.predict("m", b"x", deadline=15)
        assert time.monotonic() - began >= 0.29 and len(service.asked) == 2


def test_a_deadline_that_would_pass_while_waiting_ends_the_tries_at_once() -> None:
    with scripted(Answer(429, headers={"Retry-After": "30"})) as service, Client(service.url) as client:
        began = time.monotonic()
        with pytest.raises(Overloaded) as caught:
            client.predict("m", b"x", deadline=20)
        assert time.monotonic() - began < 10 and caught.value.retry_after == 30
        assert len(service.asked) == 1


def test_a_service_that_asks_for_an_hour_is_not_waited_for() -> None:
    with scripted(Answer(503, headers={"Retry-After": "3600"})) as service, Client(service.url) as client:
        with pytest.raises(Overloaded):
            client.predict("m", b"x")
        assert len(service.asked) == 1


@pytest.mark.parametrize("status", [200, 302, 403, 404, 502])
def test_a_proxys_page_is_said_to_be_one(status: int) -> None:
    page = Answer(status, b"<html>Welcome to the hotel's network</html>", HTML)
    with scripted(page) as service, Client(service.url, retries=0) as client:
        said = rf"/predict/m was answered with {status} .*, and not by image-model-server"
        with pytest.raises(Refused, match=said) as caught:
            client.predict("m", b"x")
        assert caught.value.status == status
        for ask in (client.models, lambda: client.describe("m"), lambda: client.embed("m", b"x")):
            with pytest.raises(Refused, match="not by image-model-server"):
                ask()


@pytest.mark.parametrize("body", [b"[]", b"7", b'{"predictions": [7]}', b'{"model": "m"}', b"\xff"])
def test_other_json_is_no_answer(body: bytes) -> None:
    with (
        scripted(Answer(body=body)) as service,
        Client(service.url) as client,
        pytest.raises(ServerFailed, match="not by image-model-server"),
    ):
        client.predict("m", b"x")


def test_a_broken_encoding_is_no_crash() -> None:
    broken = Answer(body=b"no gzip", headers={"Content-Encoding": "gzip"})
    with scripted(broken) as service, pytest.raises(Unreachable):
        Client(service.url, retries=0).predict("m", b"x")


def test_errors_can_be_sent_to_another_process() -> None:
    error = pickle.loads(pickle.dumps(Overloaded("later", 429, "OVERLOADED", "id", {"a": 1}, 0.5)))
    assert (str(error), error.status, error.detail, error.retry_after) == ("later", 429, {"a": 1}, 0.5)


async def test_the_async_client_asks_again_and_keeps_deadlines_too() -> None:
    with scripted(Answer(429, headers={"Retry-After": "0"}), LABEL, Answer(hold=Event())) as service:
        async with AsyncClient(service.url) as client:
            assert (await client.predict("m", b"x")).label == "cat"
            with pytest.raises(DeadlineExceeded):
                await client.predict("m", b"x", deadline=0.2)


async def test_a_call_can_be_cancelled_at_any_time() -> None:
    with scripted(Answer(hold=Event()), Answer(429, headers={"Retry-After": "50"})) as service:
        async with AsyncClient(service.url) as client:
            for _ in range(2):
                call = asyncio.create_task(client.predict("m", b"x"))
                await asyncio.to_thread(service.arrived.acquire, timeout=30)
                call.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await call
