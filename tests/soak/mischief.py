"""Bad clients: each does one thing that no good client does, once, and leaves."""

import random
import socket
import struct
import time
from collections.abc import Callable
from contextlib import suppress

_PATIENCE = 5.0  # seconds
_HEAD = b"POST /predict/lenet5 HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n"


def _trickle(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        for byte in (_HEAD % len(image))[:40]:
            wire.sendall(bytes([byte]))
            time.sleep(0.05)


def _half_close(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(_HEAD % len(image) + image)
        wire.shutdown(socket.SHUT_WR)
        while wire.recv(65536):
            pass


def _leave_in_the_body(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(_HEAD % len(image) + image[: len(image) // 2])


def _reset(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(_HEAD % len(image) + image)
        wire.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def _talk_garbage(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(random.randbytes(4096))
        while wire.recv(65536):
            pass


def _read_nothing(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(b"GET /openapi.json HTTP/1.1\r\nhost: x\r\n\r\n" * 50)
        time.sleep(0.5)


def _say_nothing(port: int, image: bytes) -> None:
    with _connect(port):
        time.sleep(0.5)


def _ask_for_too_much(port: int, image: bytes) -> None:
    with _connect(port) as wire:
        wire.sendall(_HEAD % 10**12 + image)
        while wire.recv(65536):
            pass


TRICKS: tuple[Callable[[int, bytes], None], ...] = (
    *(_trickle, _half_close, _leave_in_the_body, _reset, _talk_garbage, _read_nothing, _say_nothing, _ask_for_too_much),
)


def play(trick: Callable[[int, bytes], None], port: int, image: bytes) -> None:
    """On either port: what is HTTP on one is garbage on the other."""
    with suppress(OSError):
        trick(port, image)


def _connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=_PATIENCE)
