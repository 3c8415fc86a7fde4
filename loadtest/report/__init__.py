"""A load test's report: `write` draws a Run as HTML, PNG, CSV and JSON; `conclude` also holds it to a baseline."""

from pathlib import Path

from loadtest.results import Run


def write(run: Run, folder: Path) -> None:
    """`report.html` (one file, no network), `report.png`, `report.csv` and `results.json` in `folder`."""
    from loadtest.report import page, picture, spreadsheet
    from loadtest.report.findings import findings

    folder.mkdir(parents=True, exist_ok=True)
    run.write(folder / "results.json")
    found = findings(run)
    spreadsheet.write(run, found, folder / "report.csv")
    (folder / "report.html").write_text(page.render(run, found), encoding="utf-8")
    picture.write(run, found, folder / "report.png")
