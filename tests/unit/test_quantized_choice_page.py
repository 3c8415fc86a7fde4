"""The tables on `--quantize` in docs/exporting.md: each goes where it belongs, and a slower choice shows."""

from pathlib import Path

import pytest

from benchmarks import quantize_cost, quantized_choice
from benchmarks.quantized_choice import Comparison
from export.quantize.candidates import Candidate, Choice
from export.quantize.evaluate import Quality


def test_the_tables_go_where_they_belong() -> None:
    page = quantize_cost.PAGE.read_text(encoding="utf-8")
    both = quantized_choice.render(quantize_cost.render(page, "| costs |"), "| choices |")
    assert both.index("| costs |") < both.index("| choices |") < both.index("### EXIF orientation")
    assert both.count("<!-- end -->") == page.count("<!-- end -->")
    again = quantize_cost.render(both, "| others |")
    assert "| costs |" not in again and "| choices |" in again


@pytest.mark.parametrize("ratio", [1.0, 1.5])
def test_a_choice_is_told_beside_the_exhaustive_one(ratio: float) -> None:
    float32, chosen, best = (Candidate(name, name, Path(name), 1) for name in ("float32", "dynamic", "int8"))
    float32.quality, chosen.quality = (Quality(None, {}, 1.0, "", images) for images in (100, 90))
    choice = Choice(chosen, (float32, chosen, best), {})
    table = quantized_choice.tabulate([Comparison("lenet5", 100, choice, 5.0, best, 3, 20.0, chosen, ratio)])
    (line,) = (line for line in table.splitlines() if line.startswith("| lenet5"))
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["lenet5", "100", "dynamic", "5", "90", "dynamic", "int8", "20", "200", f"{ratio:.2f}"]
