"""Large messages are read beside the event loop, one at a time, once it is known what they become in memory."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from service.host.priority import give_way
from service.protobuf.density import check_density

LARGE = 2**18
"""Bytes of a message past which it is read beside the event loop. Smaller ones have fewer fields than are free."""


async def read(parse: Callable[[bytes], Any], data: bytes) -> Any:
    """What `parse`, a message class's FromString, makes of `data`. Raises InvalidInput for one dense with fields."""
    if len(data) <= LARGE:
        return parse(data)
    return await asyncio.get_running_loop().run_in_executor(_reader(), _read_checked, parse, data)


def _read_checked(parse: Any, data: bytes) -> Any:
    check_density(data, parse.__self__.DESCRIPTOR)
    return parse(data)


def bound_handler(handler: Any) -> Any:
    """The same handler of a stream: a message that is dense with fields ends its call."""
    parse = handler.request_deserializer
    return handler._replace(
        request_deserializer=lambda data: parse(data) if len(data) <= LARGE else _read_checked(parse, data)
    )


@cache
def _reader() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="grpc-messages", initializer=give_way)
