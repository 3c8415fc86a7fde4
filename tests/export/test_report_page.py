"""What the report writes, without a browser: numbers as JSON that everybody reads, and what is left out."""

import json
import math
from html.parser import HTMLParser
from pathlib import Path

import pytest

from export.report.options import NUMBERS
from tests.support.export_reports import describe, measure, write_report

LABELS = ("daisy", "tulip", "rose")


def refuse(constant: str) -> None:
    raise AssertionError(f"{constant} is no JSON")


def test_a_loss_that_diverged_for_an_epoch_is_null_in_the_numbers(tmp_path: Path) -> None:
    history = {"loss": [2.0, math.inf, math.nan], "accuracy": [0.5, 0.1, 0.6]}
    phase = {"title": "everything", "epochs": 3, "history": history}
    training = {**describe(LABELS, {}).facts["training"], "phases": [phase]}
    page = write_report(tmp_path, LABELS, training=training)
    numbers = json.loads((tmp_path / NUMBERS).read_text(), parse_constant=refuse)
    assert numbers["training"]["phases"][0]["history"]["loss"] == [2.0, None, None]
    assert "Learning curves" in page.read_text()


def test_a_network_that_nobody_trained_has_no_curves(tmp_path: Path) -> None:
    training = {**describe(LABELS, {}).facts["training"], "phases": [], "strategy": "none"}
    text = write_report(tmp_path, LABELS, training=training).read_text()
    assert "Learning curves" not in text
    assert "Confusion" in text


def test_a_folder_beside_the_model_is_one_figure(tmp_path: Path) -> None:
    sizes = {"assets.extra/golden.npz": 1_000_000, "assets.extra/samples/a.png": 500_000, "model.tflite": 250_000}
    text = write_report(tmp_path, LABELS, file_bytes=sizes).read_text()
    assert "assets.extra 1.50 MB, model.tflite 0.25 MB" in text


def test_a_linear_probe_says_whose_features_it_shows(tmp_path: Path) -> None:
    training = {**describe(LABELS, {}).facts["training"], "strategy": "linear_probe"}
    said = "A linear probe changes no features"
    assert said in write_report(tmp_path / "probe", LABELS, training=training).read_text()
    assert said not in write_report(tmp_path / "tuned", LABELS).read_text()


def test_the_numbers_are_those_of_the_page(tmp_path: Path) -> None:
    page = write_report(tmp_path, LABELS)
    numbers = json.loads((tmp_path / NUMBERS).read_text())
    found = measure(LABELS, 1.5)
    assert numbers["accuracy"] == found.classification.accuracy
    assert f"{found.classification.accuracy:.1%}" in page.read_text()
    assert sum(each["images"] for each in numbers["confusion"]) == numbers["images"] == 60
    assert numbers["calibration"]["temperature"] == pytest.approx(found.temperature.value)
    assert len(numbers["mistakes"]) == min(12, round(60 * (1 - numbers["accuracy"])))
    assert {len(each["places"]) for each in numbers["features"]["maps"]} == {60}


def test_a_quantized_version_shows_what_was_measured_and_why_it_was_chosen(tmp_path: Path) -> None:
    candidate = {
        "name": "int8", "precision": "int8", "bytes": 1_500_000, "milliseconds_an_image_by_batch": {"1": 2.5, "8": 2.0},
        "accuracy": 0.9, "agreement_with_float32": 0.98, "verdict": "published",
    }  # fmt: skip
    text = write_report(tmp_path, LABELS, quantization={"asked": "auto", "candidates": [candidate]}).read_text()
    for words in ("<h2>Precision</h2>", ">1.50<", ">2.5<", ">98.0%<", ">published<"):
        assert words in text


def test_labels_are_text_whatever_they_hold(tmp_path: Path) -> None:
    """Some come from folders and tables that somebody else named."""
    labels = (
        "</title></svg><script>alert(1)</script>",
        '" onload="alert(2)',
        "' onclick='alert(3)",
        "x" * 5000,
        "👩‍👩‍👧 &lt;",
    )
    found: list[tuple[str, str]] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
            found.extend((tag, name) for name, _ in attributes)
            found.append((tag, ""))

    text = write_report(tmp_path, labels).read_text()
    Reader().feed(text)
    assert found.count(("script", "")) == 1, "the page's own"
    assert not [name for _, name in found if name.startswith("on")]
    assert json.loads((tmp_path / NUMBERS).read_text())["classes"][0]["label"] == labels[0]
    assert len(text) < 2_000_000
