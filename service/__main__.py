"""`python -m service`: settings, then the process's life."""

import logging
import os
import signal
import sys

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

from service import logs
from service.settings import Settings


def main() -> int:
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        print(f"python -m service: {_one_line(error)}; see --help", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(f"python -m service: {error}; see --help", file=sys.stderr)
        return 2
    logs.configure(settings.log_level, settings.log_format)
    # After the arguments are known to be good: `--help` answers at once.
    import asyncio

    import uvloop

    from service.bootstrap import StartError
    from service.lifecycle import serve

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        try:
            runner.run(serve(settings))
            code = 0
        except StartError as error:
            print(f"python -m service: {error}", file=sys.stderr)
            code = 1
        logging.shutdown()
        sys.stderr.flush()
        # Threads inside a model's loader cannot be interrupted and need not be waited for.
        os._exit(code)


def _one_line(error: ValidationError) -> str:
    problems = []
    for problem in error.errors():
        flag = "--" + str(problem["loc"][0]).replace("_", "-") + " " if problem["loc"] else ""
        problems.append(f"{flag}{problem['msg'].removeprefix('Value error, ')}")
    return "; ".join(problems)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the service could take the signal
        sys.exit(128 + signal.SIGINT)
