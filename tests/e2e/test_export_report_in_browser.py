"""An export's report as people see it: a real browser, at a phone's and a desktop's width, light and dark."""

import json
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from export.report.options import NUMBERS, PAGE
from service.repository.manifest import Manifest
from tests.support.chromium import Browser, browser
from tests.support.export_reports import write_report
from tests.support.exporter import export

pytestmark = pytest.mark.slow

_FEW = ("daisy", "tulip", "<b>rose</b> & more")
_MANY = tuple(f"a kind of flower with a long name, number {number}" for number in range(60))

# Every drawing that is seen; text beyond the window's edge counts where the drawing does not scroll.
_SEEN = """[...document.querySelectorAll("figure svg")].filter(svg => svg.checkVisibility()).map(svg => {
  const box = svg.getBoundingClientRect(), scrolls = svg.parentElement.offsetWidth > svg.closest("figure").offsetWidth;
  const text = scrolls ? [] : [...svg.querySelectorAll("text")].map(each => each.getBoundingClientRect());
  const out = text.filter(b => b.left < -1 || b.right > document.documentElement.clientWidth + 1).length;
  return {key: svg.closest("figure").id, width: box.width, height: box.height, out,
          marks: svg.querySelectorAll("path, circle, rect").length};
})"""


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.mark.parametrize(("labels", "width", "dark"), list(product((_FEW, _MANY), (390, 1280), (False, True))))
def test_every_section_is_drawn_and_nothing_overflows(
    tab: Browser, tmp_path: Path, labels: tuple[str, ...], width: int, dark: bool
) -> None:
    page = write_report(tmp_path, labels)
    tab.open(page, width, dark)
    seen = _check(tab, width)
    assert [each["key"] for each in seen] == ["curves", "confusion", "calibration", "features"]
    assert tab.evaluate("document.querySelectorAll('[aria-label=Classes] tbody tr').length") == len(labels)
    assert tab.evaluate("[...document.images].every(each => each.naturalWidth > 0)")
    assert (
        tab.evaluate("document.images.length")
        == len(json.loads(page.with_name(NUMBERS.name).read_text())["mistakes"])
        > 0
    )


def test_names_of_classes_stay_text(tab: Browser, tmp_path: Path) -> None:
    tab.open(write_report(tmp_path, _FEW, warnings=["<i>not</i> good"]), 1280)
    text = tab.evaluate("document.body.textContent")
    assert "<b>rose</b> & more" in text and "<i>not</i> good" in text


def test_a_class_is_brought_forward_on_every_map(tab: Browser, tmp_path: Path) -> None:
    tab.open(write_report(tmp_path, _FEW), 1280)
    others = "getComputedStyle(document.querySelector('#features circle[data-s=\"1\"]')).opacity"
    assert tab.evaluate(others) == "1"
    tab.evaluate("document.querySelector('#features .wide text[data-s=\"0\"]').dispatchEvent("
                 "new MouseEvent('click', {bubbles: true}))")  # fmt: skip
    assert float(tab.evaluate(others)) < 0.5


def test_an_export_leaves_its_report_beside_the_version(tab: Browser, tmp_path: Path) -> None:
    said = export("--model", "lenet5", "--epochs", 2, "--force", "--repository", tmp_path)
    version = tmp_path / "lenet5" / "1"
    assert str(version / PAGE) in said
    manifest = Manifest.read(version, "lenet5", 1)
    numbers = json.loads((version / NUMBERS).read_text())
    assert manifest is not None
    assert numbers["accuracy"] == pytest.approx(manifest.facts["accuracy"], abs=1e-6)
    assert numbers["calibration"]["temperature"] == manifest.temperature
    by_class = {each["label"]: each["recall"] for each in numbers["classes"]}
    assert by_class == pytest.approx(manifest.facts["accuracy_by_class"], abs=1e-6)
    assert {(each["method"], each["trained"]) for each in numbers["features"]["maps"]} == {
        *(("PCA", False), ("PCA", True), ("t-SNE", False), ("t-SNE", True))
    }
    for width in (390, 1280):
        tab.open(version / PAGE, width)
        assert {each["key"] for each in _check(tab, width)} >= {"confusion", "calibration", "features"}


def test_a_report_that_is_turned_off_is_not_written(tmp_path: Path) -> None:
    said = export("--model", "lenet5", "--epochs", 1, "--force", "--report", "off", "--repository", tmp_path)
    assert str(PAGE) not in said
    assert not (tmp_path / "lenet5" / "1" / PAGE).parent.exists()
    manifest = Manifest.read(tmp_path / "lenet5" / "1", "lenet5", 1)
    assert manifest is not None and manifest.temperature is None


def _check(tab: Browser, width: int) -> list[dict[str, Any]]:
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    assert tab.complaints == []
    assert tab.requests == []
    seen: list[dict[str, Any]] = tab.evaluate(_SEEN)
    for chart in seen:
        assert chart["width"] > 300 and chart["height"] > 100 and chart["marks"] > 5, chart
        assert chart["out"] == 0, f"text beyond the window's edge: {chart}"
    return seen
