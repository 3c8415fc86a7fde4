"""The report as people see it: a real browser, at a phone's and a desktop's width, light and dark."""

import copy
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from loadtest import report
from loadtest.analysis.budgets import Budget
from loadtest.analysis.comparison import compare
from loadtest.results import Run
from tests.support import synthetic_runs as measured
from tests.support.chromium import Browser, browser

pytestmark = pytest.mark.slow

_WIDTHS = (390, 1280)
_COMMITTED = sorted(Path(__file__).parents[2].glob("docs/reports/*/report.html"))
_CHARTS = {"capacity", "load", "distribution", "size", "stages-light", "stages-busy", "batches", "memory", "cpu"}

_SEEN = """[...document.querySelectorAll("figure svg")].filter(svg => svg.checkVisibility()).map(svg => {
  const box = svg.getBoundingClientRect(), marks = [...svg.querySelectorAll("[data-s]")];
  const scrolls = svg.parentElement.offsetWidth > svg.closest("figure").offsetWidth;
  const text = scrolls ? [] : [...svg.querySelectorAll("text")].map(each => each.getBoundingClientRect());
  const out = text.filter(b => b.left < -1 || b.right > document.documentElement.clientWidth + 1).length;
  return {key: svg.closest("figure").id, width: box.width, height: box.height, marks: marks.length, out};
})"""
_OVERLAPS = """[...document.querySelectorAll("figure svg")].filter(svg => svg.checkVisibility()).flatMap(svg => {
  const names = [...svg.querySelectorAll("text.name")].filter(each => !each.transform.baseVal.length)
    .map(each => [each.textContent, each.getBoundingClientRect()]);
  return names.flatMap(([a, p], i) => names.slice(i + 1).filter(([b, q]) =>
    Math.min(p.right, q.right) - Math.max(p.left, q.left) > 1 &&
    Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top) > 4
  ).map(([b, _]) => `${svg.closest("figure").id}: ${a} and ${b}`));
})"""
"""Names in a chart that lie flat and cover each other."""
_TABLE = "[...document.querySelector('[aria-label=Architectures] tbody').rows]"
_ROWS = f"{_TABLE}.map(row => row.cells[0].dataset.v)"
_ARCHITECTURES = "[...document.querySelectorAll('details[data-architecture]')].map(each => each.dataset.architecture)"


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def run() -> Run:
    made = measured.run(seconds=4)
    made.subjects[3].points[2].invalid = "the generator was late by up to 40 ms"
    made.subjects[5].problem = "<b>would not</b> load & more"
    return made


@pytest.fixture(scope="module")
def page(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    report.write(run, folder)
    return folder / "report.html"


@pytest.mark.parametrize(("width", "dark"), list(product(_WIDTHS, (False, True))))
def test_every_chart_is_drawn_and_nothing_overflows(tab: Browser, page: Path, width: int, dark: bool) -> None:
    tab.open(page, width, dark)
    seen = _check(tab, width)
    assert {chart["key"] for chart in seen} >= _CHARTS
    assert all(chart["marks"] >= 24 for chart in seen if chart["key"]), seen
    assert sum(not chart["key"] for chart in seen) == 2 * 24, "percentiles and stages of each architecture"


def test_the_table_of_twenty_networks_fits_a_desktop_and_says_why_one_collapsed(tab: Browser, tmp_path: Path) -> None:
    many = measured.run(1, seconds=4, networks=20)
    for number, subject in enumerate(many.subjects):
        subject.precision = "int8" if number % 2 else "float32"
        subject.accuracy = 0.5 + number / 50
        subject.engine = "litert" if number % 2 else "openvino"
        subject.engine_precision = "" if number % 2 else "bfloat16"
    many.subjects[7].collapsed, many.subjects[7].problem = True, "collapsed: the service was ended by signal 9"
    many.subjects[7].points, many.subjects[7].capacity = [], None
    report.write(many, tmp_path)
    tab.open(tmp_path / "report.html", 1280)
    whole, shown = tab.evaluate(
        "(t => [t.scrollWidth, t.clientWidth])(document.querySelector('[aria-label=Architectures]'))"
    )
    assert whole <= shown
    rows = tab.evaluate(f"{_TABLE}.map(row => [...row.cells].map(cell => cell.innerText))")
    assert len(rows) == 20
    assert {(row[1], row[2]) for row in rows} == {("float32", "openvino bf16"), ("int8", "litert")}
    assert sum("collapsed: the service was ended by signal 9" in row[0] for row in rows) == 1
    headings = tab.evaluate("[...document.querySelectorAll('h2')].map(each => each.innerText)")
    assert headings.index("Architectures") < headings.index("Every load") < headings.index("How it was measured")
    assert tab.evaluate(_OVERLAPS) == []


def test_more_names_than_a_phone_has_room_for_scroll_in_their_chart(tab: Browser, tmp_path: Path) -> None:
    many = measured.run(1, seconds=2)
    more = copy.deepcopy(many.subjects)
    for subject in more:
        subject.model += "_again"
    many.subjects += more
    report.write(many, tmp_path)
    tab.open(tmp_path / "report.html", 390)
    widths = {chart["key"]: chart["width"] for chart in _check(tab, 390)}
    assert widths["load"] > 550 and widths["capacity"] < 390


@pytest.mark.parametrize("width", _WIDTHS)
def test_a_comparison_is_drawn(tab: Browser, run: Run, tmp_path: Path, width: int) -> None:
    slower = measured.run(2, seconds=4, slower=1.3)
    report.write(slower, tmp_path, compare(slower, run, [Budget.parse("p50=+10%")]))
    tab.open(tmp_path / "report.html", width)
    assert "change-p50" in {chart["key"] for chart in _check(tab, width)}
    past = tab.evaluate("document.querySelector('[aria-label=\"Past the budget\"] tbody').rows.length")
    assert past > 5


@pytest.mark.parametrize("width", _WIDTHS)
@pytest.mark.parametrize("page", _COMMITTED or [pytest.param(None, marks=pytest.mark.skip("no report committed yet"))])
def test_the_committed_reports_are_whole(tab: Browser, page: Path, width: int) -> None:
    """Of at least 20 architectures, and drawn from the results beside it."""
    found = Run.read(page.with_name("results.json"))
    assert len({subject.architecture for subject in found.subjects if subject.points}) >= 20
    tab.open(page, width)
    assert {"load", "distribution"} <= {chart["key"] for chart in _check(tab, width)}
    assert len(tab.evaluate(_ARCHITECTURES)) >= 20
    assert len(tab.evaluate(_ROWS)) >= len(found.subjects)


def _check(tab: Browser, width: int) -> list[dict[str, Any]]:
    """What every report holds to; its charts, those of each architecture too."""
    tab.evaluate("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.complaints == []
    assert tab.requests == []
    seen: list[dict[str, Any]] = tab.evaluate(_SEEN)
    assert len(seen) == tab.evaluate("document.querySelectorAll('figure').length") > 0
    for chart in seen:
        assert chart["width"] > 300 and chart["height"] > 20 and chart["marks"] > 0, chart
        assert chart["out"] == 0, f"text beyond the window's edge: {chart}"
    return seen


def test_every_architecture_has_its_row_and_its_loads(tab: Browser, page: Path, run: Run) -> None:
    tab.open(page, 1280)
    names = sorted(subject.model for subject in run.subjects)
    assert sorted(tab.evaluate(_ROWS)) == names
    loads = tab.evaluate("[...document.querySelectorAll('details[data-architecture] tbody')].map(b => b.rows.length)")
    assert loads == [6] * len(names)
    invalid = "document.querySelector('[data-architecture=mobilenet_v3_small] tr.invalid').textContent"
    assert "late by up to 40 ms" in tab.evaluate(invalid)


def test_text_of_others_stays_text(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    assert "<b>would not</b> load & more" in tab.evaluate("document.body.textContent")


@pytest.mark.parametrize("key", ["Enter", " "])
def test_tables_are_sorted_from_the_keyboard(tab: Browser, page: Path, key: str) -> None:
    tab.open(page, 1280)
    tab.evaluate("[...document.querySelectorAll('th button')].find(b => b.textContent.startsWith('p50')).focus()")
    column = f"{_TABLE}.map(row => Number(row.cells[4].dataset.v))"
    tab.press(key)
    rising = tab.evaluate(column)
    assert rising == sorted(rising) and len(set(rising)) > 20
    assert tab.evaluate("document.activeElement.parentElement.ariaSort") == "ascending"
    tab.press(key)
    assert tab.evaluate(column) == sorted(rising, reverse=True)


def test_names_are_sorted_as_words(tab: Browser, page: Path) -> None:
    tab.open(page, 390)
    tab.evaluate("document.querySelector('th button').click()")
    names = tab.evaluate(_ROWS)
    assert names[0] == "convnext_tiny" and names[-1] == "xception" and len(names) == 24
    assert names[-4:-1] == ["resnet50", "resnet101", "resnet152"], "numbers within names count as numbers"


def test_a_click_brings_an_architecture_forward_until_the_next(tab: Browser, page: Path) -> None:
    tab.open(page, 1280)
    other = "getComputedStyle(document.querySelector('#load [data-s=\"1\"]')).opacity"
    assert tab.evaluate(other) == "1"
    tab.evaluate("document.querySelector('tr[data-s=\"0\"] td').click()")
    assert float(tab.evaluate(other)) < 0.5
    tab.evaluate("document.querySelector('tr[data-s=\"0\"] td').click()")
    assert tab.evaluate(other) == "1"


def test_the_picture_shows_the_same(page: Path) -> None:
    from PIL import Image

    with Image.open(page.with_name("report.png")) as picture:
        assert picture.width > 1500 and picture.height > 1000
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 100
