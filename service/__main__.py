"""`python -m service`: settings, then the process's life."""

import signal
import sys

from pydantic import ValidationError
from pydantic_settings import CliApp, SettingsError

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
    # After the arguments are known to be good: `--help` answers at once.
    if settings.workers > 1:
        from service.workers import supervise

        return supervise(settings)
    from service.process import run

    run(settings)


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
