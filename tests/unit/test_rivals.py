"""Other model servers beside this one: how they are started and asked, and what the page says of who is ahead."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.measurement import Served
from benchmarks.rivals import servers
from benchmarks.rivals.speeds import CONNECTIONS, Beside, Speeds, await_answer, render


def make_row(name: str, rate: float, p99_ms: float = 10.0, memory: float = 200.0) -> Beside:
    """A rival beside a service of 100 requests/s, a p99 of 10 ms and 200 MB."""
    theirs = dict.fromkeys(CONNECTIONS, Served(rate, 5.0, p99_ms))
    ours = dict.fromkeys(CONNECTIONS, Served(100.0, 5.0, 10.0))
    return Beside(name, "1.2", "bytes", theirs, ours, memory, 200.0, "2026-11-27: a machine")


def make_speeds(*rows: Beside, **failed: str) -> Speeds:
    return Speeds("m", 83_000, 2.0, 1, rows={row.name: row for row in rows}, failed=failed)


def test_a_rival_answers_with_the_same_file(lenet5_repository: Path, tmp_path: Path) -> None:
    """FastAPI, which is here without an environment of its own."""
    version = lenet5_repository / "lenet5" / "1"
    with servers.start("fastapi", Path(sys.executable), version, tmp_path) as server:
        seven = (version / "assets.extra" / "samples" / "7-0.png").read_bytes()
        answer = json.loads(await_answer(server, seven, servers.RIVALS["fastapi"].headers))
    best, *others = answer["predictions"]
    assert best["label"] == "7" and best["probability"] > 0.5 and len(others) == 4


def test_a_rival_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="No module named 'mosec'"):
        servers.start("mosec", Path(sys.executable), tmp_path, tmp_path).__enter__()


def test_the_page_says_where_a_rival_is_ahead() -> None:
    page = render(make_speeds(make_row("fast", 120.0), make_row("even", 102.0), make_row("small", 50.0, 10.0, 100.0)))
    _, _, ahead = page.partition("Where others are faster or smaller")
    assert "- **fast**: 1.20 times the requests/s with 1 in flight; 1.20 times the requests/s with 8 in flight" in ahead
    assert "- **small**: 100 MB, not 200." in ahead and "even" not in ahead


def test_a_lower_p99_is_ahead_although_fewer_are_answered() -> None:
    assert "- **calm**: p99 5.0 ms, not 10.0, with 1 in flight" in render(make_speeds(make_row("calm", 50.0, 5.0)))


def test_who_is_behind_everywhere_is_not_named_as_ahead() -> None:
    assert render(make_speeds(make_row("slow", 50.0))).endswith("- None of these.")


def test_the_table_has_the_fastest_first_and_its_share() -> None:
    lines = render(make_speeds(make_row("slow", 50.0), make_row("fast", 120.0))).splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:5]] == ["this service", "fast 1.2", "slow 1.2"]
    assert "1.20 / 1.20 / 1.20" in lines[3] and "0.50 / 0.50 / 0.50" in lines[4]


def test_what_could_not_be_measured_is_named_with_the_reason() -> None:
    page = render(make_speeds(make_row("fast", 120.0), ray="no wheel for this Python"))
    assert "- Ray Serve: no wheel for this Python." in page and "- TensorFlow Serving: " in page
    assert "- LitServe: not yet." in page


def test_results_are_read_as_they_are_written(tmp_path: Path) -> None:
    row = replace(make_row("fast", 120.0), theirs_cpu_ms={1: 3.5}, ours_cpu_ms={1: 4.5})
    speeds = make_speeds(row, ray="no wheel")
    speeds.write(path := tmp_path / "rivals.json")
    assert Speeds.read(path) == speeds
    assert Speeds.read(tmp_path / "none.json") == Speeds()
    path.write_text('{"rows": {"x": {}}}')
    with pytest.raises(ValueError, match="was not written by `python -m benchmarks"):
        Speeds.read(path)


@pytest.mark.parametrize("name", servers.RIVALS)
def test_a_photo_is_in_each_body(name: str) -> None:
    rival = servers.RIVALS[name]
    body = rival.body(b"photo")
    assert body == b"photo" if rival.sends == "bytes" else "cGhvdG8=" in json.dumps(json.loads(body))


def test_a_pair_in_which_something_else_ran_is_marked_and_nobody_is_ahead_by_it() -> None:
    slowed = make_row("lucky", 90.0)
    slowed = replace(slowed, ours=dict.fromkeys(CONNECTIONS, Served(70.0, 5.0, 10.0)))
    page = render(make_speeds(slowed, make_row("slow", 50.0), make_row("even", 102.0)))
    assert "| lucky 1.2* " in page and "| slow 1.2 " in page
    assert page.endswith("- None of these.")
