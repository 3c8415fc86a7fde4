"""`python -m service`: settings, then the process's life. The first argument may name another of its programs."""

import importlib
import os
import re
import signal
import sys
from typing import Any

PROGRAMS = {
    "healthcheck": "service.server.healthcheck",
    "keys": "service.security.api_keys",
    "profile": "service.backends.embedded.profile",
    "sync": "service.sync.__main__",
}
"""Subcommand -> the module whose `main` takes the arguments behind it."""


def main() -> int:
    if len(sys.argv) > 1 and (module := PROGRAMS.get(sys.argv[1])):
        return int(importlib.import_module(module).main(sys.argv[2:]))
    return serve()


def serve() -> int:
    from pydantic import ValidationError
    from pydantic_settings import CliApp, SettingsError

    from service.settings import Settings

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are files to look at again
    try:
        settings = CliApp.run(Settings)
    except ValidationError as error:
        problems = "; ".join(_describe(problem) for problem in error.errors())
        print(f"python -m service: {problems}; see --help", file=sys.stderr)
        return 2
    except SettingsError as error:
        print(f"python -m service: {error}; see --help", file=sys.stderr)
        return 2
    # After the arguments are known to be good: `--help` answers at once.
    if settings.workers > 1:
        from service.server.supervisor import supervise

        return supervise(settings)
    from service.server.process import run

    run(settings)


def _describe(problem: Any) -> str:
    """With the flags it is about, and the environment variables that they came from."""
    message = problem["msg"].removeprefix("Value error, ")
    flags = re.findall("--[a-z-]+", message)
    if problem["loc"]:
        flags = ["--" + str(problem["loc"][0]).replace("_", "-")]
        message = f"{flags[0]} {message}"
    variables = [name for flag in dict.fromkeys(flags) for name in _variables(flag)]
    return f"{message} (set by {', '.join(variables)})" if variables else message


def _variables(flag: str) -> list[str]:
    """None where the command line has the flag, which goes first."""
    if any(argument == flag or argument.startswith(f"{flag}=") for argument in sys.argv[1:]):
        return []
    variable = f"SERVICE{flag[1:].replace('-', '_')}".upper()
    return [name for name in os.environ if name.upper() == variable]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the service could take the signal
        sys.exit(128 + signal.SIGINT)
