"""A service with low limits, asked over sockets of our own, and what it says, counts and takes."""

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from service.host import processes
from tests.support import procfs
from tests.support.service_process import Service

HEADER_SECONDS, BODY_SECONDS = 1.5, 2.0

MAX_BODY = 4 * 2**20


def connect(limited: Service) -> socket.socket:
    return socket.create_connection(("127.0.0.1", limited.http_port), timeout=30)


def everything(wire: socket.socket) -> bytes:
    """Until the other side closes, or hangs up on what we still send."""
    received = b""
    with suppress(ConnectionResetError):
        while chunk := wire.recv(65536):
            received += chunk
    return received


@contextmanager
def trickling(wire: socket.socket) -> Iterator[None]:
    """One more byte always comes in time: no timeout between bytes would notice."""
    stop = threading.Event()

    def send() -> None:
        with suppress(OSError):
            while not stop.wait(0.2):
                wire.sendall(b"x")

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def refusal(raw: bytes, status: int) -> dict[str, str]:
    head, _, body = raw.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), raw[:300]
    assert b"connection: close" in head.lower()
    error = json.loads(body)["error"]
    assert set(error) >= {"code", "message", "request_id"}
    return dict(error)


def refused(limited: Service, reason: str) -> float:
    return limited.metric(f'model_server_connections_refused_total{{reason="{reason}"}}')


def highest_memory(limited: Service) -> int:
    """In bytes, since `forget`."""
    return int(processes.peak_mb(limited.process.pid) * 1e6)


def growth(limited: Service, work: Callable[[], None]) -> int:
    """By how many bytes the server's memory rose at most while `work` was done."""
    procfs.restart_peak(limited.process.pid)
    before = highest_memory(limited)
    work()
    return highest_memory(limited) - before
