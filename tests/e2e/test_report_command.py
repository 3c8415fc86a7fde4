"""`python -m loadtest.report`, run as a build would: its files, its exit codes, and what it says of wrong arguments."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest

from loadtest.analysis import sample_size as samples
from loadtest.results import Run
from tests.support import synthetic_runs as measured


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same service twice, and a slower one."""
    folder = tmp_path_factory.mktemp("runs")
    made = {"old": measured.run(1, networks=4), "same": measured.run(2, networks=4)}
    made["slow"] = measured.run(3, networks=4, slower=1.5)
    for name, run in made.items():
        run.write(folder / name / "results.json")
    return {name: folder / name / "results.json" for name in made}


def _command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "loadtest.report", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_a_report_is_written_beside_its_results(runs: dict[str, Path]) -> None:
    before = Run.read(runs["old"])
    done = _command(runs["old"])
    assert done.returncode == 0, done.stderr
    folder = runs["old"].parent
    assert sorted(each.name for each in folder.iterdir()) == ["report.csv", "report.html", "report.png", "results.json"]
    assert Run.read(runs["old"]) == before
    assert f"{folder}/report.html" in done.stdout


def test_the_spreadsheet_says_what_the_results_say(runs: dict[str, Path], tmp_path: Path) -> None:
    assert _command(runs["old"], "--output", tmp_path).returncode == 0
    with (tmp_path / "report.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    run = Run.read(runs["old"])
    assert len(lines) == sum(len(subject.points) for subject in run.subjects)
    for subject in run.subjects:
        mine = {float(line["offered"]): line for line in lines if line["model"] == subject.model}
        for point in subject.points:
            line = mine[point.offered or 0.0]
            assert int(line["answers"]) == len(point.latencies) and int(line["requests"]) == point.requests
            median = samples.percentile(point.latencies, 50)
            assert median is not None and float(line["p50_ms"]) == pytest.approx(1000 * median, abs=1e-3)
            few = len(point.latencies) < samples.needed(99.9)
            assert (line["p99.9_ms"] == "") == few, "too few answers are no percentile"
            assert float(line["stage_decode_ms"]) == pytest.approx(1.1)


def test_an_unchanged_build_ends_with_0_and_a_slower_one_with_1(runs: dict[str, Path], tmp_path: Path) -> None:
    budget = ("--baseline", runs["old"], "--budget", "p50=+10%", "--budget", "throughput=-5%", "--output", tmp_path)
    same = _command(runs["same"], *budget)
    assert same.returncode == 0, same.stdout + same.stderr
    assert "Within the budget (p50=+10%, throughput=-5%)" in same.stdout
    slow = _command(runs["slow"], *budget)
    assert slow.returncode == 1, slow.stdout + slow.stderr
    assert "Past the budget" in slow.stdout and "p50=+10% exceeded" in slow.stdout
    assert "Past the budget" in (tmp_path / "report.html").read_text()


def test_a_baseline_alone_only_tells(runs: dict[str, Path], tmp_path: Path) -> None:
    done = _command(runs["slow"], "--baseline", runs["old"], "--output", tmp_path)
    assert done.returncode == 0 and "changed significantly" in done.stdout


def test_an_interrupted_run_says_so_in_its_first_lines(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Run.read(runs["old"])
    run.interrupted = "Ctrl-C after 3 of 24 architectures"
    run.write(tmp_path / "results.json")
    assert _command(tmp_path / "results.json").returncode == 0
    page = (tmp_path / "report.html").read_text()
    body = page[page.index("<main>") :]
    assert body.index("Ctrl-C after 3 of 24 architectures") < body.index("<h1>")
    assert "<title>Interrupted" in page
    assert "Ctrl-C" in (tmp_path / "report.csv").read_text()


def test_a_run_of_nothing_is_a_report_too(runs: dict[str, Path], tmp_path: Path) -> None:
    run = Run.read(runs["old"])
    run.interrupted = "Ctrl-C"
    for subject in run.subjects:
        subject.points, subject.capacity, subject.problem = [], None, "not reached"
    run.subjects[0].points = Run.read(runs["old"]).subjects[0].points[:1]
    run.subjects[0].points[0].latencies.counts.clear()
    run.write(tmp_path / "some" / "results.json")
    run.subjects = []
    run.write(tmp_path / "none" / "results.json")
    for name in ("some", "none"):
        done = _command(tmp_path / name / "results.json")
        assert done.returncode == 0, done.stderr
        assert (tmp_path / name / "report.png").stat().st_size > 1000


def _wrong(runs: dict[str, Path], folder: Path) -> dict[str, tuple[list[object], str]]:
    (folder / "broken.json").write_text("{")
    (folder / "other.json").write_text(json.dumps({"hello": 1}))
    good = runs["old"]
    return {
        "missing": ([folder / "none.json"], "none.json: No such file or directory"),
        "broken": ([folder / "broken.json"], "broken.json is not a result of `python -m loadtest`"),
        "other": ([folder / "other.json"], "other.json is not a result of `python -m loadtest`"),
        "folder": ([folder], "Is a directory"),
        "baseline": ([good, "--baseline", folder / "none.json"], "none.json: No such file or directory"),
        "other baseline": ([good, "--baseline", folder / "other.json"], "is not a result of `python -m loadtest`"),
        "budget": ([good, "--baseline", good, "--budget", "p98=+10%"], "invalid metric 'p98'"),
        "sign": ([good, "--baseline", good, "--budget", "capacity=+5%"], "write capacity=-5%"),
        "alone": ([good, "--budget", "p99=+10%"], "--budget needs --baseline results.json"),
        "output": ([good, "--output", good], "File exists"),
        "nothing": ([], "the following arguments are required: results.json"),
    }


@pytest.mark.parametrize(
    "which",
    [
        "missing",
        "broken",
        "other",
        "folder",
        "baseline",
        "other baseline",
        "budget",
        "sign",
        "alone",
        "output",
        "nothing",
    ],
)
def test_wrong_arguments_get_one_line(runs: dict[str, Path], tmp_path: Path, which: str) -> None:
    arguments, said = _wrong(runs, tmp_path)[which]
    done = _command(*arguments)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1 and said in done.stderr, done.stderr
    assert done.stderr.startswith("python -m loadtest.report: ")
