"""The process that makes load: Locust's users, and gevent's patches, are in here and nowhere else.

Reads one job a line on stdin, and `stop`; writes one line of JSON for each event on stdout. Ends with its stdin.
"""

import locust  # noqa: F401  # isort: skip  # first: it patches what the others import

import contextlib
import gc
import json
import logging
import os
import resource
import sys
from typing import Any

import gevent
from gevent.event import Event
from gevent.queue import Queue
from gevent.socket import wait_read

from loadtest.generator.jobs import Job
from loadtest.generator.runner import Emit, perform

STOP = "stop"


def main() -> None:
    emit = _private_stdout()
    logging.getLogger("locust").setLevel(logging.ERROR)  # it warns of spawning all users at once, which is what we want
    sys.setswitchinterval(0.0005)  # LoadGen's thread hands requests over: it must not wait long for its turn
    # Where that may be (by root, on Linux): a core when it is time, not when the service that it loads leaves one free.
    # Otherwise a tenth of the starts are some four milliseconds late on a busy machine.
    with contextlib.suppress(AttributeError, OSError):
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    with contextlib.suppress(ValueError, OSError):
        limits = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))
    jobs: Queue[Job | None] = Queue()
    stop = Event()
    gevent.spawn(_listen, jobs, stop)
    emit({"event": "ready"})
    while (job := jobs.get()) is not None:
        stop.clear()
        gc.collect()
        gc.freeze()
        gc.disable()  # a pause would be the generator's, and look like the service's
        try:
            outcome = perform(job, emit, stop)
        finally:
            gc.enable()
        emit({"event": "outcome", "outcome": outcome.to_document()})


def _listen(jobs: "Queue[Job | None]", stop: Event) -> None:
    """stdin, without holding up the greenlets; its end is the end of whoever wanted a load."""
    text = b""
    while True:
        wait_read(0)
        if not (more := os.read(0, 2**16)):
            os._exit(0)
        *lines, text = (text + more).split(b"\n")
        for line in lines:
            if line.decode() == STOP:
                stop.set()
            else:
                jobs.put(Job.from_line(line))


def _private_stdout() -> Emit:
    """What libraries print must not come between the events."""
    events = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def emit(event: dict[str, Any]) -> None:
        events.write(json.dumps(event) + "\n")

    return emit


if __name__ == "__main__":
    main()
