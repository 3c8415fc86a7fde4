"""`python -m loadtest.report`: a run's report drawn again from its results, and held to an older run."""

import argparse
import sys
from pathlib import Path
from typing import NoReturn

from loadtest import report
from loadtest.report import flags
from loadtest.results import Run


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def main() -> int:
    parser = _Parser(
        prog="python -m loadtest.report",
        description="Draws a run's report again from its results, and holds them to an older run.",
        allow_abbrev=False,
    )
    parser.add_argument("results", type=Path, metavar="results.json", help="what `python -m loadtest` wrote")
    flags.add(parser)
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where to (default: beside results.json)")
    arguments = parser.parse_args()
    try:
        flags.check(arguments)
        run = Run.read(arguments.results)
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"{arguments.results}: {error.strerror}")
    folder = arguments.output or arguments.results.parent
    try:
        return report.conclude(run, folder, arguments.baseline, arguments.budget)
    except OSError as error:
        parser.error(f"{error.filename}: {error.strerror}")


if __name__ == "__main__":
    sys.exit(main())
