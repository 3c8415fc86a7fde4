"""`python -m export advise`: which candidate is recommended, and that nothing is tried twice."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from export.advise.candidates import Bounds, Candidate, Failure, Result, recommend
from export.advise.page import format_table
from export.architectures import ARCHITECTURES
from export.report.classification import bound_share
from tests.support.chromium import browser
from tests.support.exporter import ROOT


def result(name: str, right: int, milliseconds: float, size: int = 1_000_000, images: int = 200) -> Result:
    candidate = Candidate(name, "scratch")
    interval = bound_share(right, images)
    return Result(candidate, right / images, interval, images, 10.0, 1000, size, milliseconds)


def test_the_most_accurate_is_recommended_where_it_is_clearly_better() -> None:
    best, fast = result("best", 190, 30), result("fast", 120, 1)
    advice = recommend([fast, best], Bounds())
    assert advice.chosen is best
    assert "most accurate" in advice.reason


def test_the_fastest_is_recommended_of_those_that_the_images_cannot_tell_apart() -> None:
    best, fast, poor = result("best", 190, 30), result("fast", 186, 2), result("poor", 120, 1)
    advice = recommend([best, fast, poor], Bounds())
    assert advice.chosen is fast
    assert "200 images cannot tell its 93.0% from the 95.0% of best-scratch" in advice.reason


def test_bounds_exclude_whatever_is_better() -> None:
    slow, large, fits = result("slow", 199, 30), result("large", 198, 2, 50_000_000), result("fits", 120, 4)
    bounds = Bounds(milliseconds=5, megabytes=10)
    assert recommend([slow, large, fits], bounds).chosen is fits
    assert (bounds.describe_excess(slow), bounds.describe_excess(large)) == ("too slow", "too large")
    assert recommend([slow, large], bounds).chosen is None
    assert "within the bounds" in recommend([slow, large], bounds).reason


def test_what_is_no_better_than_guessing_is_not_recommended() -> None:
    guesser, able = replace(result("guesser", 190, 1), better_than_guessing=False), result("able", 120, 4)
    advice = recommend([guesser, able], Bounds())
    assert advice.chosen is able
    assert "not shown to be better than guessing" in format_table([guesser, able], [], Bounds(), advice)
    none = recommend([guesser], Bounds())
    assert none.chosen is None and "nothing that was tried is shown to be better than guessing" in none.reason


def test_the_table_marks_what_is_recommended_and_says_what_failed() -> None:
    results = [result("best", 190, 30), result("fast", 186, 2)]
    failures = [Failure(Candidate("third", "fine_tune"), "no weights")]
    lines = format_table(results, failures, Bounds(), recommend(results, Bounds())).splitlines()
    assert [line.startswith("->") for line in lines] == [False, False, True, False]
    assert lines[2].split()[1:3] == ["fast-scratch", "93.0%"]
    assert lines[3].strip() == "third-fine_tune failed: no weights"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--models", "lenet5", "--max-ms", "0"), "Invalid --max-ms: expected a number above 0, got 0.0"),
        (("--models", "lenet5", "--ways", "fine_tun"), "did you mean fine_tune?"),
        (("--models", "lenet5", "--ways", "fine_tune"), "there are no weights for lenet5; add scratch"),
        (("--models", "lenet5", "--weights", "/nowhere"), "expected imagenet or a folder with NAME.keras"),
        (("--models", "lenet6",), "did you mean lenet5"),
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_one_line(arguments: tuple[str, ...], says: str, tmp_path: Path) -> None:
    ended = advise(tmp_path, *arguments)
    assert ended.returncode == 2
    (line,) = ended.stderr.splitlines()
    assert says in line


@pytest.mark.slow
def test_candidates_are_tried_once_and_one_is_recommended(tmp_path: Path) -> None:
    row = ARCHITECTURES["lenet5"]
    row.build(row.shape(28), 7).save(tmp_path / "lenet5.keras")  # another number of classes: its head is no help
    output = tmp_path / "advice"
    first = advise(output, "--models", "lenet5", "--ways", "scratch", "--epochs", "6")
    assert first.returncode == 0, first.stderr
    second = advise(output, "--models", "lenet5", "--weights", str(tmp_path), "--epochs", "6", "--max-mb", "5")
    assert second.returncode == 0, second.stderr
    assert "lenet5-scratch was tried before" in second.stderr
    assert sorted(path.name for path in (output / "models").iterdir()) == [
        *("lenet5-fine_tune", "lenet5-linear_probe", "lenet5-scratch")
    ]
    assert [path.name for path in (output / "models" / "lenet5-scratch").glob("[0-9]*")] == ["1"]
    kept = json.loads((output / "advice.json").read_text())["candidates"]
    accuracies = {name: each["result"]["accuracy"] for name, each in kept.items()}
    assert accuracies["lenet5-scratch"] > accuracies["lenet5-linear_probe"], "random features are worse than learned"
    assert "Recommended: lenet5-" in second.stdout
    with browser() as tab:
        for width in (390, 1280):
            tab.open(output / "advice.html", width)
            assert tab.evaluate("document.documentElement.scrollWidth") == width
            assert (tab.complaints, tab.requests) == ([], [])
            assert tab.evaluate("document.querySelectorAll('[aria-label=Candidates] tbody tr').length") == 3
            assert tab.evaluate("document.querySelectorAll('figure').length") == 2


def advise(output: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "export", "advise", "--output", str(output), *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=280,
    )
