"""The page on `--quantize`: forms that nobody examined have no figures, and older manifests examined all."""

from typing import Any

from benchmarks import quantization
from tests.support.export_reports import describe


def row(name: str, precision: str, milliseconds: float, verdict: str, **more: Any) -> dict[str, Any]:
    examined = {"accuracy": 0.9, "agreement_with_float32": 1.0, "worst_class": {"label": "a", "accuracy": 0.8}}
    return {
        "name": name, "precision": precision, "bytes": 1_000, "verdict": verdict,
        "milliseconds_an_image_by_batch": {"1": milliseconds, "8": milliseconds}, **examined, **more,
    }  # fmt: skip


def write(*rows: dict[str, Any]) -> list[str]:
    facts = {"candidates": list(rows), "failed": {}, "max_accuracy_drop": 0.005}
    return "\n".join(quantization._report([describe(("a", "b"), {"quantization": facts})])).splitlines()


def find_cells(lines: list[str], candidate: str) -> list[str]:
    (line,) = (line for line in lines if line.startswith(f"| {candidate} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_a_form_that_was_not_examined_has_no_accuracy_and_wins_nothing() -> None:
    unknown = {"images": 0, "accuracy": None, "agreement_with_float32": None, "worst_class": None}
    lines = write(
        row("float32", "float32", 8.0, "takes 4.00 times as long", images=40),
        row("dynamic", "dynamic", 2.0, "published", images=40),
        row("int8", "int8", 4.0, "takes 2.00 times as long", **unknown),
    )
    assert find_cells(lines, "int8")[4:8] == ["0", "-", "-", "-"]
    assert find_cells(lines, "dynamic")[4:6] == ["40", "0.9000"]
    assert find_cells(lines, "flowers")[-1] == "-"


def test_an_older_manifest_has_examined_every_form_on_all_images() -> None:
    lines = write(
        row("float32", "float32", 8.0, "takes 4.00 times as long"),
        row("dynamic", "dynamic", 2.0, "published"),
        row("int8", "int8", 4.0, "takes 2.00 times as long"),
    )
    assert find_cells(lines, "int8")[4:6] == ["40", "0.9000"]
    assert find_cells(lines, "flowers")[-1] == "2.00x"
