"""docs/zoo.md: what was measured is not measured again, every network is on the page, and no words of its pictures
cover each other.
"""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import pytest

from benchmarks.catalogue import page
from benchmarks.catalogue.__main__ import main
from benchmarks.catalogue.families import FAMILIES, LANES
from benchmarks.catalogue.pictures import MEMBERS, NAME, draw_accuracy, draw_timeline
from drawing.canvas import Canvas
from export.architectures import ARCHITECTURES
from export.architectures.measurements import Latency, Measured, Measurements, read_measurements
from loadtest.report.charts.labels import CHARACTER, Box
from service.host.cpu import machine

LENET5 = Measured(0.2, 1.6, 264_742, 254_992, Latency({1: 0.058, 8: 0.204}, {1: 0.801, 8: 1.336}))
ROWS = tuple(ARCHITECTURES.values())


def test_what_is_on_record_is_not_measured_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, output = tmp_path / "results.json", tmp_path / "docs" / "zoo.md"
    Measurements(machine(), {"lenet5": LENET5}).write(results)
    arguments = ["--networks", "lenet5", "--results", str(results), "--output", str(output), "--cache", str(tmp_path)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"written to {output}\n"
    assert read_measurements(results) == Measurements(machine(), {"lenet5": LENET5})
    assert (output.parent / page.TIMELINE).read_text(encoding="utf-8").startswith("<svg ")


@pytest.mark.slow
def test_what_is_not_on_record_is_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    results, output = tmp_path / "results.json", tmp_path / "docs" / "zoo.md"
    Measurements("another machine", {"lenet5": LENET5, "nin": LENET5}).write(results)
    arguments = ["--networks", "lenet5", "--results", str(results), "--output", str(output), "--cache", str(tmp_path)]
    assert main([*arguments, "--steps", "export"]) == 0
    exported = read_measurements(results)
    assert exported.machine == machine() and list(exported.networks) == ["lenet5"]
    assert exported.networks["lenet5"].latency is None
    assert main(arguments) == 0
    assert capsys.readouterr().out.splitlines()[-2:] == ["lenet5: running ...", f"written to {output}"]
    found = read_measurements(results).networks["lenet5"]
    assert replace(found, latency=None) == exported.networks["lenet5"]
    assert found.litert_bytes == (tmp_path / "lenet5" / "model.tflite").stat().st_size
    assert found.latency is not None
    for engine in (found.latency.litert_ms, found.latency.tensorflow_ms):
        assert set(engine) == {1, 8} and 0 < engine[1] < engine[8]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--networks", "lenet"], "did you mean lenet5"),
        (["--steps", "measure"], "expected some of export, time, page, got 'measure'"),
    ],
)
def test_what_cannot_be_measured_is_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(arguments)
    assert message in capsys.readouterr().err


def test_the_page_has_every_network_and_says_what_was_not_measured() -> None:
    text = page.render(ROWS, Measurements("a machine", {"lenet5": LENET5, "nin": replace(LENET5, latency=None)}))
    for row in ROWS:
        assert len(re.findall(rf"^\| {row.name} +\|", text, re.MULTILINE)) == 2
        assert re.search(rf"^\| {re.escape(row.family)} +\|", text, re.MULTILINE)
    costs = text[text.index("What they take") :]
    (line,) = (line for line in costs.splitlines() if line.startswith("| lenet5 "))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["lenet5", "0.2", "1.6", "0.26", "0.25", "0.058", "0.204", "0.801", "1.34"]
    assert "Exported and not timed: nin." in costs
    (missing,) = re.findall(r"Not measured: (.*?)\.", costs)
    assert missing.split(", ") == [row.name for row in ROWS if row.name not in ("lenet5", "nin")]


def test_families_build_on_families() -> None:
    assert {row.family for row in ROWS} <= set(FAMILIES)
    for name, family in FAMILIES.items():
        assert family.lane in LANES
        assert set(family.parents) <= set(FAMILIES) - {name}


@pytest.mark.parametrize(("draw", "size"), [(draw_timeline, NAME), (draw_accuracy, 10.5)])
def test_no_words_of_a_picture_cover_others(draw: Callable[..., Canvas], size: float) -> None:
    canvas = draw(ROWS)
    words = list_words(canvas, size)
    assert {row.family for row in ROWS} <= set(words) or {row.name for row in ROWS if row.top1} <= set(words)
    everything = Box(0, 0, canvas.width, canvas.height)
    for name, box in words.items():
        assert box.outside(everything) == 0, name
    for (one, first), (other, second) in combinations(words.items(), 2):
        assert first.overlap(second) == 0, (one, other)


def test_words_of_the_timeline_stay_in_their_boxes() -> None:
    canvas = draw_timeline(ROWS)
    boxes = [
        Box(x, y, x + wide, y + high)
        for x, y, wide, high in (
            map(float, found)
            for found in re.findall(
                r'<rect class="hollow c\d" x="([\d.]+)" y="([\d.]+)" width="([\d.]+)" height="([\d.]+)"',
                canvas.inside(),
            )
        )
    ]
    assert len(boxes) == len({row.family for row in ROWS})
    for name, box in list_words(canvas, MEMBERS, css="name").items():
        assert any(box.outside(each) == 0 for each in boxes), name


def list_words(canvas: Canvas, size: float, css: str = "") -> dict[str, Box]:
    """Words -> where they stand, by the mean width of a character; `size` where they do not tell their own."""
    found = {}
    for attributes, words in re.findall(r"<text([^>]*)>([^<]*)</text>", canvas.inside()):
        told = dict(re.findall(r'([\w-]+)="([^"]*)"', attributes))
        if css and told.get("class") != css:
            continue
        high = float(told.get("font-size", size))
        wide = len(words) * CHARACTER * high
        left = float(told["x"]) - {"start": 0.0, "middle": wide / 2, "end": wide}[told.get("text-anchor", "start")]
        y = float(told["y"])
        found[f"{words} at {told['x']}" if words in found else words] = Box(left, y - 0.75 * high, left + wide, y)
    return found
