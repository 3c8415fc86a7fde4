"""`--workers N`: a parent process that holds the ports, starts and restarts the workers, forwards signals and waits for
the drain. It serves nothing itself.

The kernel spreads connections over the workers, which share the ports. Each worker is a
`python -m service.server.supervisor` that reads its settings from stdin; the pipe stays open while the parent lives.
"""

import asyncio
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from service.command_line import name_program
from service.host import sockets as ports
from service.host.cpu import SHARE, cores
from service.host.file_watcher import ReloadError
from service.host.sockets import StartError
from service.observability import logs
from service.observability.metrics.registry import Metrics
from service.observability.metrics.worker_files import forget_worker
from service.routing.routes_file import RoutesFile
from service.security.api_keys import LIKE_A_KEY
from service.server.worker import Worker, all_ready_file, ready_file
from service.settings import Settings, describe_exposure

_log = logging.getLogger("service.server.supervisor")
_MOST_FAILURES = 3  # of one worker in a row, before the first time that all are ready
_FIRST_PAUSE, _LONGEST_PAUSE = 0.5, 30.0  # seconds before a worker that keeps dying is started again
_HEALTHY = 10.0  # seconds of life after which a death is not one of a row
_GRACE = 45.0  # seconds for a worker's end beyond its drain; it takes less by itself
_POLL = 0.1  # seconds


def supervise(settings: Settings) -> int:
    """Runs until a signal; the exit code."""
    try:
        folder = Path(tempfile.mkdtemp(prefix="image-model-server-"))
    except OSError as error:
        why = error.strerror or error
        logs.report_end(f"{name_program('service')}: workers share a temporary folder ({why}): mount one at /tmp")
        return 1
    try:
        if settings.routes is not None:  # a mistake ends the start once, not in every worker
            RoutesFile(settings.routes, Metrics())
        return asyncio.run(_Supervisor(settings, folder).run())
    except (StartError, ReloadError) as error:
        logs.report_end(f"{name_program('service')}: {error}")
        return 1
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class _Supervisor:
    def __init__(self, settings: Settings, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._alive: dict[int, asyncio.subprocess.Process] = {}
        self._all_were_ready = False
        self._stop = asyncio.Event()
        self._asked: signal.Signals | None = None
        self._code = 0

    async def run(self) -> int:
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal, number)
        asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._on_hangup)
        host, count = self._settings.host, self._settings.workers
        http = ports.own(host, self._settings.http_port, "--http-port")
        grpc = ports.own(host, self._settings.grpc_port, "--grpc-port")
        for sock in (http, grpc):
            ports.lend(sock)
        taken = {"http_port": http.getsockname()[1], "grpc_port": grpc.getsockname()[1]}
        self._settings = self._settings.model_copy(update=taken)
        self._share = max(1, cores() // count)
        _log.info("HTTP on port %d; starting %d workers, cores for each: %d", taken["http_port"], count, self._share)
        if warning := describe_exposure(self._settings):
            _log.warning(warning)
        keeping = [asyncio.ensure_future(self._keep(number)) for number in range(count)]
        announcing = asyncio.ensure_future(self._announce())
        try:
            await asyncio.gather(*keeping)
        finally:
            announcing.cancel()
            for task in keeping:
                task.cancel()
            await self._end_all()
        return self._code

    async def _keep(self, number: int) -> None:
        """Runs a worker and its successors until the end. Raises StartError where the first ones keep dying."""
        failures, again = 0, False
        while not self._stop.is_set():
            began = time.monotonic()
            process = await self._start(number, again)
            code = await process.wait()
            del self._alive[number]
            ready_file(self._folder, number).unlink(missing_ok=True)
            forget_worker(number, self._folder)
            if self._stop.is_set():
                if code not in (0, -signal.SIGTERM):
                    self._code = 128 - code if code < 0 else code
                return
            failures = 1 if time.monotonic() - began > _HEALTHY else failures + 1
            if failures == _MOST_FAILURES and not self._all_were_ready:
                raise StartError(f"worker {number} ended {failures} times, the last time {_how(code)}; see above why")
            pause = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** (failures - 1))
            _log.error("worker %d (process %d) ended %s; next try in %.1f s", number, process.pid, _how(code), pause)
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), pause)
            again = self._all_were_ready

    async def _start(self, number: int, again: bool) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "service.server.supervisor"),
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, SHARE: str(self._share)},
            process_group=0,  # Ctrl-C in a terminal is for us, to hand on once
        )
        self._alive[number] = process
        worker = Worker(number, self._settings.workers, self._folder, os.getpid(), again)
        assert process.stdin is not None
        process.stdin.write(pickle.dumps((self._settings, worker)))
        if self._asked is not None:  # while it was being started
            self._hand_on(self._asked)
        return process

    async def _announce(self) -> None:
        numbers = range(self._settings.workers)
        while not all(ready_file(self._folder, number).exists() for number in numbers):
            await asyncio.sleep(_POLL)
        self._all_were_ready = True
        all_ready_file(self._folder).touch()
        _log.info("all %d workers are ready", len(numbers))

    def _on_signal(self, number: signal.Signals) -> None:
        self._stop.set()
        if self._asked is not None:
            self._code = 128 + number
        else:
            asyncio.get_running_loop().call_later(self._settings.drain_seconds + _GRACE, self._kill)
        self._asked = number
        self._hand_on(number)

    def _on_hangup(self) -> None:
        for worker, process in self._alive.items():
            if ready_file(
                self._folder, worker
            ).exists():  # one that still starts would die of it, and reads the files anyway
                with suppress(ProcessLookupError):
                    process.send_signal(signal.SIGHUP)

    def _hand_on(self, number: signal.Signals) -> None:
        for worker, process in self._alive.items():
            # One that still imports would show a KeyboardInterrupt; not ready, it ends as fast either way.
            early = number is signal.SIGINT and not ready_file(self._folder, worker).exists()
            with suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM if early else number)

    def _kill(self) -> None:
        _log.error("workers %s did not end; killing them", sorted(self._alive))
        self._hand_on(signal.SIGKILL)

    async def _end_all(self) -> None:
        """Where one worker's failure is the end of all."""
        self._hand_on(signal.SIGINT)
        kill = asyncio.get_running_loop().call_later(_GRACE, self._kill)
        for process in list(self._alive.values()):
            await process.wait()
        kill.cancel()


def _how(code: int) -> str:
    return f"with exit code {code}" if code >= 0 else f"by {signal.Signals(-code).name}"


def _work() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are files to look at again
    settings, worker = pickle.load(sys.stdin.buffer)
    logs.configure(settings.log_level, settings.log_format, worker.number, LIKE_A_KEY)
    from service.server.lifecycle import run

    run(settings, worker)


if __name__ == "__main__":
    _work()
