"""How many replicas a load takes: from what a load test found, and never from what it did not."""

import subprocess
import sys
from math import floor
from pathlib import Path

import pytest

from loadtest import sizing
from loadtest.results import Capacity, Latencies, Point, Subject
from loadtest.sizing import Able, SizingError, able, size
from tests.support import synthetic_runs as measured


def subject(*points: Point, capacity: Capacity | None = None) -> Subject:
    return Subject("m", 1, "m", "int8", 224, points=list(points), capacity=capacity)


def load(rate: float, late: int, *, scenario: str = "steps", invalid: str | None = None, unanswered: int = 0) -> Point:
    """A thousand requests: `late` of them take 200 ms, the others 10."""
    latencies = Latencies()
    for number in range(1000 - unanswered):
        latencies.add(0.2 if number < late else 0.01)
    return Point(scenario, "locust", "predict", 10.0, latencies, 1000, offered=rate, invalid=invalid)


def test_the_lower_end_of_what_was_searched_counts() -> None:
    searched = subject(load(50, 0), capacity=Capacity(100, 92, 108, 100, 4000))
    assert able(searched, 100).rate == 92
    assert able(searched, 250).rate == 92 and "at 100 ms" in able(searched, 250).known
    assert able(searched, 50).rate == 50, "a stricter SLO than the search's: only the loads know"


def test_the_last_load_in_a_row_that_kept_the_slo_counts() -> None:
    found = able(subject(load(300, 0), load(100, 5), load(200, 11), load(50, 0)), 100)
    assert found == Able(100, "the last load that kept it; 200/s did not")
    assert able(subject(load(100, 0)), 100).known == "no load went past it: at least"


def test_what_was_never_answered_is_late() -> None:
    assert able(subject(load(50, 0), load(100, 5, unanswered=6)), 100).rate == 50


@pytest.mark.parametrize(
    ("points", "why"),
    [
        ((), "no open-loop load"),
        ((load(100, 0, invalid="the generator was late"),), "no open-loop load"),
        ((load(100, 0, scenario="offline"),), "no open-loop load"),
        ((load(100, 500),), "none of its loads kept p99 within 100 ms; at 100/s p99 was 200 ms"),
    ],
)
def test_what_a_run_does_not_say_is_not_guessed(points: tuple[Point, ...], why: str) -> None:
    with pytest.raises(SizingError, match=why):
        able(subject(*points), 100)


def test_replicas_are_rate_over_what_one_does_with_headroom_and_one_that_may_be_away() -> None:
    found = size(Able(100, ""), 2000, 0.6, 1, 0.085)
    assert (found.replicas, found.threshold) == (35, 60)
    assert found.price == pytest.approx(2.975)
    assert found.utilization == pytest.approx(2000 / 3500)
    assert size(Able(100, ""), 1, 0.6, 0, None).replicas == 2, "never one alone"


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = measured.run(networks=4)
    run.subjects[1].capacity, run.subjects[1].points = None, []
    run.write(tmp_path / "results.json")
    assert sizing.main([str(tmp_path / "results.json"), "--rate", "2000", "--slo-ms", "100"]) == 0
    said = capsys.readouterr().out
    lines = {line.split()[0]: line for line in said.splitlines() if line.strip()}
    expected = size(able(run.subjects[0], 100), 2000, 0.6, 1, 0.085)
    assert f" {expected.replicas} " in lines["lenet5"] and f" {floor(expected.threshold)}/s" in lines["lenet5"]
    assert "no open-loop load" in lines["mobilenet"]
    assert "AMD EPYC" in lines["2000"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere.json", "--rate", "1", "--slo-ms", "1"], "cannot be read"),
        (["{run}", "--rate", "0", "--slo-ms", "1"], "invalid --rate: expected a number above 0, got 0"),
        (
            ["{run}", "--rate", "1", "--slo-ms", "1", "--utilization", "2"],
            "invalid --utilization: expected a share above 0, at most 1, got 2",
        ),
        (["{run}", "--rate", "1", "--slo-ms", "1", "--models", "other"], "has no other; it has lenet5"),
        (["{junk}", "--rate", "1", "--slo-ms", "1"], "is not a result of"),
    ],
)
def test_wrong_arguments_are_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    measured.run(networks=1, seconds=1).write(tmp_path / "run.json")
    (tmp_path / "junk.json").write_text('{"subjects": 1}')
    given = [one.format(run=tmp_path / "run.json", junk=tmp_path / "junk.json") for one in arguments]
    done = subprocess.run([sys.executable, "-m", "loadtest.sizing", *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr
