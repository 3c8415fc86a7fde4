"""`--baseline` and `--budget`, for every command that ends in a report."""

import argparse
from pathlib import Path

from loadtest.analysis.budgets import METRICS, Budget
from loadtest.results import Run


def add(parser: argparse._ActionsContainer) -> None:
    """Adds the flags. Their values are checked while they are parsed, before anything is measured."""
    parser.add_argument(
        "--baseline",
        type=_run,
        metavar="FILE",
        help="results.json of an older run: the report says what changed since, and what chance would do too",
    )
    parser.add_argument(
        "--budget",
        type=_budget,
        action="append",
        default=[],
        metavar="METRIC=CHANGE%",
        help="how much worse than --baseline a number may be, such as p99=+10%% or throughput=-5%% "
        f"({', '.join(METRICS)}); may be given several times. Whatever is significantly past it ends the command "
        "with exit code 1",
    )


def check(arguments: argparse.Namespace) -> None:
    """Raises ValueError where the two do not go together."""
    if arguments.budget and arguments.baseline is None:
        raise ValueError("--budget needs --baseline results.json, the older run to compare with")


def _run(text: str) -> Run:
    try:
        return Run.read(Path(text))
    except OSError as error:
        raise argparse.ArgumentTypeError(f"{text}: {error.strerror or error}") from error
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _budget(text: str) -> Budget:
    try:
        return Budget.parse(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
