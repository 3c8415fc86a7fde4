"""Clients that take their time: given up, wherever they are, and nobody else waits."""

import socket
import time

import pytest

from tests.support.raw_http import BODY_SECONDS, HEADER_SECONDS, connect, everything, refusal, refused, trickling
from tests.support.service_process import Service

pytestmark = pytest.mark.usefixtures("nobody_else_is_harmed")


def test_headers_that_trickle_are_given_up(limited: Service) -> None:
    before = refused(limited, "slow_headers")
    with connect(limited) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\n")
        started = time.monotonic()
        with trickling(wire):
            raw = everything(wire)
    error = refusal(raw, 408)
    assert error["code"] == "DEADLINE" and "headers" in error["message"]
    assert HEADER_SECONDS < time.monotonic() - started < HEADER_SECONDS + 5
    assert refused(limited, "slow_headers") == before + 1


def test_a_connection_that_says_nothing_is_closed(limited: Service) -> None:
    with connect(limited) as wire:
        assert everything(wire) == b""


def test_a_slow_head_after_a_good_request_is_given_up_too(limited: Service) -> None:
    with connect(limited) as wire:
        wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\nGET /hea")
        raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 200") and b"HTTP/1.1 408" in raw


@pytest.mark.parametrize("path", ["/predict/lenet5", "/v1/models/lenet5:predict", "/v2/models/lenet5/infer"])
def test_bodies_that_trickle_are_given_up_on_every_route(limited: Service, path: str) -> None:
    with connect(limited) as wire:
        started = time.monotonic()
        wire.sendall(f"POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: 1000\r\n\r\n".encode())
        with trickling(wire):
            raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 504") and b"did not arrive within 2 s" in raw
    assert BODY_SECONDS < time.monotonic() - started < BODY_SECONDS + 5


def test_a_body_that_goes_on_after_its_answer_is_ended(limited: Service) -> None:
    """Refused for its size at once; the rest is not waited for."""
    before = refused(limited, "slow_body")
    with connect(limited) as wire:
        wire.sendall(b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: 100000000\r\n\r\nx")
        raw = everything(wire)
    assert raw.startswith(b"HTTP/1.1 413")
    assert refused(limited, "slow_body") == before + 1


def test_a_client_that_does_not_take_its_answers_is_ended(limited: Service) -> None:
    """It asks for much and reads nothing: what it is owed must not pile up for ever."""
    before = refused(limited, "answer_not_taken")
    with socket.socket() as wire:
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        wire.connect(("127.0.0.1", limited.http_port))
        wire.settimeout(0.2)
        deadline = time.monotonic() + 30
        while refused(limited, "answer_not_taken") == before:
            assert time.monotonic() < deadline
            try:
                wire.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 200)
            except TimeoutError:
                time.sleep(0.2)
            except OSError:
                break
    limited.wait_until(lambda: refused(limited, "answer_not_taken") == before + 1, 10)
