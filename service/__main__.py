"""`python -m service`: settings, then the process's life; or one of its subcommands."""

import importlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Any

from service.command_line import name_program

SUBCOMMANDS = {
    "healthcheck": "service.server.healthcheck",
    "keys": "service.security.api_keys",
    "openvino": "service.backends.embedded.openvino_file",
    "openvino-int8": "service.backends.embedded.openvino_int8",
    "profile": "service.backends.embedded.profile",
    "sync": "service.sync.command",
}
"""Subcommand -> the module whose `main` takes the arguments after it."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and (module := SUBCOMMANDS.get(given[0])):
        return int(importlib.import_module(module).main(given[1:]))
    return serve(given)


def serve(arguments: list[str]) -> int:
    from pydantic import ValidationError
    from pydantic_settings import SettingsError

    from service import settings as configuration

    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until there are files to read again
    try:
        settings = configuration.parse(arguments)
    except ValidationError as error:
        return _refuse("; ".join(_describe(problem, arguments) for problem in error.errors()), arguments)
    except SettingsError as error:
        return _refuse(str(error), arguments)
    # Imported late, so that --help answers at once.
    from service.observability import logs
    from service.security.api_keys import LIKE_A_KEY

    logs.configure(settings.log_level, settings.log_format, secrets=LIKE_A_KEY)
    if settings.workers > 1:
        from service.server.supervisor import supervise

        return supervise(settings)
    from service.server.lifecycle import run

    run(settings)


def _refuse(problem: str, arguments: list[str]) -> int:
    """Tells what is wrong with the settings, in the form that they would have had the log in; the exit code."""
    from service.observability import logs

    flags = " ".join(arguments).replace("=", " ")
    chosen = re.findall(r"--log-format (\S+)", flags) or [os.environ.get("SERVICE_LOG_FORMAT", "")]
    if chosen[-1] == "json":
        logs.configure("INFO", "json")
    logs.report_end(f"{name_program('service')}: {problem}; see --help")
    return 2


def _describe(problem: Any, arguments: list[str]) -> str:
    """One problem with its flags, and the environment variables that set them."""
    message = problem["msg"].removeprefix("Value error, ")
    flags = re.findall("--[a-z-]+", message)
    if problem["loc"]:
        flags = ["--" + str(problem["loc"][0]).replace("_", "-")]
        if match := re.match("(?:Input should be|Path does not point to) (.*)", message):  # pydantic's words
            expected = match[1].partition(", unable to parse")[0].replace("valid integer", "whole number")
            comparison = expected.startswith(("greater", "less"))
            message = f"expected {'a number ' if comparison else ''}{expected}, got {str(problem['input'])!r}"
        message = f"invalid {flags[0]}: {message}"
    variables = [name for flag in dict.fromkeys(flags) for name in _find_variables(flag, arguments)]
    return f"{message} (set by {', '.join(variables)})" if variables else message


def _find_variables(flag: str, arguments: list[str]) -> list[str]:
    """Empty where the command line has the flag, which overrides the environment."""
    if any(argument == flag or argument.startswith(f"{flag}=") for argument in arguments):
        return []
    variable = "SERVICE_" + flag.removeprefix("--").removeprefix("no-").replace("-", "_").upper()
    return [name for name in os.environ if name.upper() == variable]


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:  # before the service handles SIGINT
        sys.exit(128 + signal.SIGINT)
