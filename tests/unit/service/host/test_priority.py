"""Threads that compute, and the one that does not."""

import os
import threading
from concurrent.futures import ThreadPoolExecutor

from service.host.priority import give_way


def nice() -> int:
    return os.getpriority(os.PRIO_PROCESS, threading.get_native_id())


def test_only_the_thread_that_gives_way_gets_a_lower_priority() -> None:
    before = nice()
    with ThreadPoolExecutor(1, initializer=give_way) as pool:
        assert pool.submit(nice).result() == max(before, 5)
    assert nice() == before
