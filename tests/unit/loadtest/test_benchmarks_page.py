"""docs/benchmarks.md is what a script makes of the measurements that are kept, and nothing else."""

import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks import page as benchmarks_page
from benchmarks import peak
from benchmarks.choices import Choice, Cost, Raced, Races
from benchmarks.decoding import Decoding
from benchmarks.measurement import Served
from benchmarks.model_formats import FLOAT32, FROZEN, PUBLISHED, STOCK
from benchmarks.results import Bench, Comparison
from benchmarks.rivals.speeds import Beside, Speeds
from loadtest.target import ceiling
from tests.support import synthetic_runs as measured

_ROOT = Path(__file__).parents[3]
_BENCH = _ROOT / benchmarks_page.BENCH


def _bench() -> Bench:
    plain = {each: Served(20.0 * each, 12.3, 45.6) for each in (1, 8, 32)}
    ours = {each: Served(70.0 * each, 4.5, 6.7) for each in (1, 8, 32)}
    return Bench(
        machine="2026-11-21: a machine",
        photo_bytes=83_076,
        seconds=4.0,
        rounds=3,
        costs={"resnet50": {STOCK: 48.7, FROZEN: 40.9, FLOAT32: 38.0, PUBLISHED: 11.3}},
        sizes={"resnet50": 0.26},
        int8_size=0.29,
        comparisons=[Comparison("resnet50", plain, ours, 2345.0, 1665.0, 230.0, 1.6, 1)],
        decoded=[Decoding(640, 427, 2.43, 1.27)],
        rivals=_rivals(),
    )


def _rivals() -> dict[str, Speeds]:
    theirs, ours = ({count: Served(rate, 1.2, 3.4) for count in (1, 8, 32)} for rate in (250.0, 300.0))
    cpu_ms = dict.fromkeys((1, 8, 32), 3.5), dict.fromkeys((1, 8, 32), 4.5)
    row = Beside("mosec", "1.2", "bytes", theirs, ours, 180.0, 240.0, "a machine", *cpu_ms)
    measured = Speeds("resnet50", 83_076, 2.0, 3, 2, "auto", {"mosec": row})
    return {"resnet50": measured, "lenet5": Speeds("lenet5", failed={"mosec": "no wheel"})}


def _peaks() -> peak.Peak:
    return peak.Peak(
        "a machine",
        {(peak.LITERT, ceiling.FLOAT32): 40.0, (peak.LITERT, ceiling.INT8): 90.0},
        {"lenet5": {(peak.LITERT, ceiling.INT8): 450.0}},
        {"lenet5": 0.1},
    )


def _races() -> Races:
    lite, fast = Choice("litert", "int8", 1, 2), Choice("openvino", "bfloat16", 1, 2)
    slow = Raced("a machine", {lite: Cost(4.0, 9.0), fast: Cost(2.0, 2.0)}, lite, [fast, fast])
    wrong = Raced("a machine", {lite: Cost(1.0, 1.0), fast: Cost(1.0, 1.44)}, lite, [lite, fast])
    return Races({"resnet50": slow, "lenet5": wrong})


def test_the_committed_page_is_made_of_the_committed_measurements() -> None:
    if not _BENCH.is_file():
        pytest.skip(f"{benchmarks_page.BENCH} is not there yet: make bench writes it")
    made = benchmarks_page.make(_BENCH)
    assert (_ROOT / benchmarks_page.PAGE).read_text() == made, "run python -m benchmarks.page"


def test_measurements_are_read_as_they_were_written(tmp_path: Path) -> None:
    _bench().write(tmp_path / "bench.json")
    assert Bench.read(tmp_path / "bench.json") == _bench()
    assert benchmarks_page.write(tmp_path / "bench.json", tmp_path / "page.md") == benchmarks_page.render(_bench())


def test_the_page_says_what_was_measured() -> None:
    page = benchmarks_page.render(_bench())
    for said in ("a machine", "83,076 bytes", "1665 MB", "230 MB", "| resnet50 |", "4.3x", "2.43", "70", "12.3"):
        assert said in page, said
    assert "Architectures under load" not in page


def test_mosec_and_the_ceiling_are_shown(tmp_path: Path) -> None:
    _peaks().write(tmp_path / "peak.json")
    assert peak.Peak.read(tmp_path / "peak.json") == _peaks()
    _bench().write(tmp_path / "bench.json")
    page = benchmarks_page.make(tmp_path / "bench.json")
    assert "| resnet50 |           8 |     250 |    300 |  1.20 |   1.10 | met" in page
    assert "240 MB after the load, mosec 180 MB (wanted: at most its; not met)" in page
    assert "- lenet5: not measured: no wheel." in page
    assert "LiteRT float32 40, LiteRT int8 90" in page and "450/s, 50%" in page


def test_choices_of_races_are_held_against_the_cheapest_and_against_litert(tmp_path: Path) -> None:
    _races().write(tmp_path / "race.json")
    assert Races.read(tmp_path / "race.json") == _races()
    _bench().write(tmp_path / "bench.json")
    page = benchmarks_page.make(tmp_path / "bench.json")
    good, bad = (line for line in page.splitlines() if "| openvino bfloat16 1 x 2 |" in line)
    assert "resnet50" in good and "1.00 | met " in good and good.endswith(" 3.00 |")
    assert "lenet5" in bad and "1.20 | not met |" in bad and bad.endswith(" 0.83 |")
    assert "1.58 times as fast as LiteRT alone" in page and "0.83 of lenet5 (wanted: at least 0.97, not met)" in page


def test_litert_may_stay_where_it_costs_a_tenth_more() -> None:
    lite, fast = Choice("litert", "int8", 1, 2), Choice("openvino", "bfloat16", 1, 2)
    raced = Raced("a machine", {lite: Cost(1.08, 1.08), fast: Cost(1.0, 1.0)}, lite, [lite])
    assert raced.is_good(lite) and raced.cheapest == fast
    assert not Raced("", {lite: Cost(1.0, 1.0), fast: Cost(1.08, 1.08)}, lite, [fast]).is_good(fast)


@pytest.mark.parametrize("results", [peak.Peak, Races])
@pytest.mark.parametrize("text", ["[]", "{", '{"lenet5": {}}'])
def test_what_is_no_measurement_is_refused(tmp_path: Path, text: str, results: type[peak.Peak] | type[Races]) -> None:
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(ValueError, match=r"found\.json was not written by"):
        results.read(tmp_path / "found.json")


def test_the_newest_load_test_is_a_table(tmp_path: Path) -> None:
    older, newer = measured.run(1, seconds=2, networks=2), measured.run(2, networks=3)
    older.started -= timedelta(days=1)
    newer.subjects[2].points, newer.subjects[2].capacity = [], None
    older.write(tmp_path / "z-old" / "results.json")
    newer.write(tmp_path / "a-new" / "results.json")
    page = benchmarks_page.render(_bench(), benchmarks_page.newest(tmp_path))
    assert "reports/a-new/report.html" in page and "z-old" not in page
    rows = {line.split("|")[1].strip(): line for line in page.partition("under load")[2].splitlines() if "|" in line}
    assert {"lenet5", "mobilenet", "mobilenet_v2"} <= set(rows)
    assert "1,280 | 1,216 - 1,331 |" in rows["lenet5"]
    assert rows["mobilenet_v2"].count(" - |") == 6, "what was not measured is no number"


@pytest.mark.parametrize(
    ("text", "said"), [(None, "make bench measures it"), ("[]", "was not written by `make bench`")]
)
def test_without_measurements_the_script_says_so(tmp_path: Path, text: str | None, said: str) -> None:
    if text is not None:
        (tmp_path / benchmarks_page.BENCH).parent.mkdir(parents=True)
        (tmp_path / benchmarks_page.BENCH).write_text(text)
    command = [sys.executable, "-m", "benchmarks.page"]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(_ROOT)}, capture_output=True, text=True)
    assert done.returncode == 1 and said in done.stderr and len(done.stderr.splitlines()) == 1, done.stderr
