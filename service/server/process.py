"""The one process that serves, or one of several."""

import asyncio
import logging
import os
import sys
from typing import NoReturn

import uvloop

from service.host.sockets import StartError
from service.observability import logs
from service.security.api_keys import LIKE_A_KEY
from service.server.lifecycle import serve
from service.server.worker import Worker
from service.settings import Settings


def run(settings: Settings, worker: Worker | None = None) -> NoReturn:
    """Serves until a signal, then ends the process."""
    logs.configure(settings.log_level, settings.log_format, worker.number if worker else None, LIKE_A_KEY)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve(settings, worker))
            code = 0
        except StartError as error:
            print(f"python -m service: {error}", file=sys.stderr)
            code = 1
        logging.shutdown()
        sys.stderr.flush()
        # Threads inside a model's loader cannot be interrupted and need not be waited for.
        os._exit(code)
