"""Answers asked once: whose are kept, of how many images, and what no number is."""

from typing import Any

import numpy as np
import pytest

from export.data.dataset import Split
from export.errors import ExportError
from export.progress import Stage
from export.verify import answers

SILENT = Stage("test", lambda text: None)


def test_classes_of_all_images_are_kept_and_the_rest_of_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST", 50)
    monkeypatch.setattr(answers, "MOST_FEATURES", 40)
    images = np.random.default_rng(0).integers(0, 256, (70, 2, 2, 3), np.uint8)
    asked: list[int] = []

    def run(rows: Any) -> dict[str, Any]:
        asked.append(len(rows))
        values = rows.reshape(len(rows), 12).astype(np.float32)
        return {"probabilities": values, "features": values[:, :5]}

    split, wanted = Split(images, np.zeros(70, np.int32)), images.reshape(70, 12)
    found = answers.compute(run, split, SILENT)
    np.testing.assert_array_equal(found.classes, wanted.argmax(-1))
    np.testing.assert_array_equal(found.probabilities, wanted[:50])
    np.testing.assert_array_equal(found.features, wanted[:40, :5])
    assert sum(asked) == 70
    few = answers.compute(lambda rows: {"probabilities": run(rows)["probabilities"]}, split, SILENT, most=33)
    assert len(few.classes) == len(few.probabilities) == 33 and few.features is None


def test_answers_that_are_no_numbers_end_the_export() -> None:
    split = Split(np.zeros((3, 2, 2, 3), np.uint8), np.zeros(3, np.int32))
    with pytest.raises(ExportError, match="its training diverged"):
        answers.compute(lambda rows: {"probabilities": np.full((len(rows), 2), np.nan)}, split, SILENT)
