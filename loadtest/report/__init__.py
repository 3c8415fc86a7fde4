"""A load test's report: `write` draws a Run as HTML, PNG, CSV and JSON; `conclude` also holds it to a baseline.

    python -m loadtest.report build/loadtest/results.json --baseline old.json --budget p99=+10%

A command that measures takes the same flags from `flags.add`, and calls `flags.check` before it begins.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from loadtest.results import Run

if TYPE_CHECKING:  # --help answers before any of this is needed
    from loadtest.analysis.budgets import Budget
    from loadtest.analysis.comparison import Comparison


def write(run: Run, folder: Path, comparison: "Comparison | None" = None) -> None:
    """`report.html` (one file, no network), `report.png`, `report.csv` and `results.json` in `folder`."""
    from loadtest.analysis.findings import findings
    from loadtest.report import csv as spreadsheet
    from loadtest.report import page
    from loadtest.report import png as picture

    folder.mkdir(parents=True, exist_ok=True)
    run.write(folder / "results.json")
    found = findings(run)
    spreadsheet.write(run, found, folder / "report.csv")
    (folder / "report.html").write_text(page.render(run, found, comparison), encoding="utf-8")
    picture.write(run, found, folder / "report.png")


def conclude(run: Run, folder: Path, baseline: Run | None = None, budgets: "Sequence[Budget]" = ()) -> int:
    """Writes the report and says where it is; beside a baseline, what changed.

    The exit code of a command: 1 where something is past one of `budgets`, else 0.
    """
    from loadtest.analysis.comparison import compare
    from loadtest.report import verdict

    comparison = None if baseline is None else compare(run, baseline, budgets)
    write(run, folder, comparison)
    print(f"report: {folder / 'report.html'}  (and report.png, report.csv, results.json)")
    if comparison is None:
        return 0
    print(verdict.in_words(comparison))
    return 0 if comparison.passed else 1
