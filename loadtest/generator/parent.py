"""The parent's end of `loadtest.generator`: one job at a time, watched."""

import json
import queue
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from loadtest.generator.jobs import INTERRUPTED, Job, MLPerf, Outcome

_START_SECONDS, _STOP_SECONDS = 60.0, 5.0
_LOOK = 0.2  # seconds between two looks at whether the service still lives
_PATIENCE = 30.0  # seconds past a job's own time, after which the generator is thought to hang

Listener = Callable[[dict[str, Any]], None]


class GeneratorError(Exception):
    """The generator failed, which says nothing of the service."""


class GeneratorProcess:
    """Started on entering, ended on leaving. In a session of its own: a Ctrl-C is the parent's to handle."""

    def __enter__(self) -> Self:
        self._start()
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()

    def run(self, job: Job, listen: Listener = lambda event: None, trouble: Callable[[], str | None] = str) -> Outcome:
        """`listen` hears events: `measuring` just before the warm-up ends, then `progress` a few times a second.

        Where `trouble` says what became of the service, or on Ctrl-C, the load ends early, and so says the outcome's
        `ended`. Raises GeneratorError.
        """
        self._send(job.to_line())
        until = time.monotonic() + job.warm_up + job.load.seconds + 2 * job.timeout + _PATIENCE
        try:
            while True:
                event = self._next(_LOOK)
                if event is None:
                    if (why := trouble()) or time.monotonic() > until:
                        return self._end(job, why or "the generator did not come to an end")
                elif event["event"] == "outcome":
                    return Outcome.from_document(event["outcome"])
                else:
                    listen(event)
        except KeyboardInterrupt:
            return self._end(job, INTERRUPTED)

    def restart(self) -> None:
        """For the next job, whatever became of the last one. Raises GeneratorError."""
        self.__exit__()
        self._start()

    def _end(self, job: Job, why: str) -> Outcome:
        """What there is so far. LoadGen cannot be stopped: of its scenario nothing is left."""
        if not isinstance(job.load, MLPerf):
            self._send("stop")
            until = time.monotonic() + _STOP_SECONDS
            while time.monotonic() < until:
                event = self._next(_LOOK)
                if event is not None and event["event"] == "outcome":
                    outcome = Outcome.from_document(event["outcome"])
                    outcome.ended = why
                    return outcome
        self.restart()
        return Outcome.nothing(why)

    def _start(self) -> None:
        self._log = tempfile.NamedTemporaryFile("w+")  # noqa: SIM115  # until it is left
        self._process = subprocess.Popen(
            [sys.executable, "-m", "loadtest.generator"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            start_new_session=True,
        )
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        threading.Thread(target=self._read, args=(self._process, self._events), daemon=True).start()
        if self._next(_START_SECONDS) is None:
            raise GeneratorError(f"the load generator did not start:\n{self._said()}")

    def _read(self, process: "subprocess.Popen[bytes]", events: "queue.Queue[dict[str, Any] | None]") -> None:
        assert process.stdout is not None
        for line in process.stdout:
            events.put(json.loads(line))
        events.put(None)

    def _next(self, seconds: float) -> dict[str, Any] | None:
        """The next event; None where none comes in time. Raises GeneratorError where the process ended."""
        try:
            event = self._events.get(timeout=seconds)
        except queue.Empty:
            return None
        if event is None:
            raise GeneratorError(f"the load generator ended with {self._process.wait()}:\n{self._said()}")
        return event

    def _send(self, line: str) -> None:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise GeneratorError(f"the load generator ended:\n{self._said()}") from None

    def _said(self) -> str:
        return "\n".join(Path(self._log.name).read_text(errors="replace").splitlines()[-15:])
