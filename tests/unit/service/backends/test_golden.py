"""How far a loaded version's answers may be from those at export."""

import numpy as np
import pytest

from service.backends.base import Golden
from service.backends.golden import BFLOAT16, find_deviation, find_mismatch
from service.repository.manifest import PROBABILITIES, Manifest
from service.types import Array

EXPECTED = np.array([[0.7, 0.2, 0.1], [0.4, 0.36, 0.24]], np.float32)
GOLDEN = Golden("image", {"image": np.zeros((2, 1, 1, 3), np.uint8)}, {PROBABILITIES: EXPECTED})


@pytest.mark.parametrize(
    ("exported", "precision", "moved", "right"),
    [
        ("float32", "", 0.009, True),
        ("float32", "float32", 0.02, False),
        ("float16", "", 0.02, False),
        ("int8", "", 0.09, True),
        ("int8", "", 0.11, False),
        ("float32", BFLOAT16, 0.05, True),  # the second row's class changes, and it led by little
        ("float32", BFLOAT16, 0.11, False),
        ("int8", BFLOAT16, 0.09, True),
    ],
)
def test_answers_may_differ_by_as_much_as_their_precision_rounds(
    exported: str, precision: str, moved: float, right: bool
) -> None:
    answers = EXPECTED + np.array([-moved, moved, 0], np.float32)
    manifest = Manifest("m", 1, {}, precision=exported)
    assert (not find_mismatch(GOLDEN, {PROBABILITIES: answers}, manifest, precision)) is right


def test_in_bfloat16_a_class_that_leads_clearly_stays() -> None:
    golden = Golden("image", {}, {PROBABILITIES: np.array([[0.45, 0.34, 0.21]], np.float32)})
    answers = {PROBABILITIES: np.array([[0.39, 0.40, 0.21]], np.float32)}
    assert "another class" in find_mismatch(golden, answers, Manifest("m", 1, {}, precision="float32"), BFLOAT16)
    assert not find_mismatch(golden, answers, Manifest("m", 1, {}, precision="int8"))


@pytest.mark.parametrize("precision", ["", BFLOAT16])
def test_nan_is_a_mismatch(precision: str) -> None:
    answers = {PROBABILITIES: np.full_like(EXPECTED, np.nan)}
    assert "differs" in find_mismatch(GOLDEN, answers, Manifest("m", 1, {}, precision="int8"), precision)


@pytest.mark.parametrize(
    ("answer", "precision", "wrong"),
    [
        (np.array([[100.0, 1.9]], np.float32), "", ""),
        (np.array([[102.0, 1.0]], np.float32), "", "'y' differs by 2 (tolerance 0.01 of 100)"),
        (np.array([[102.0, 1.0]], np.float32), BFLOAT16, ""),
        (np.array([[np.nan, 1.0]], np.float32), BFLOAT16, "'y' differs by nan (tolerance 0.1 of 100)"),
        (np.array([100.0, 1.0], np.float32), "", "'y' is float32 [2], not float32 [1, 2]"),
        (np.array([[100.0, 1.0]]), "", "'y' is float64 [1, 2], not float32 [1, 2]"),
    ],
)
def test_another_engine_s_numbers_may_differ_by_a_part_of_the_largest(
    answer: Array, precision: str, wrong: str
) -> None:
    assert find_deviation({"y": np.array([[100.0, 1.0]], np.float32)}, {"y": answer}, precision) == wrong


def test_another_engine_s_classes_are_the_same() -> None:
    wanted = {"classes": np.array([3, 4])}
    assert not find_deviation(wanted, {"classes": np.array([3, 4])}, BFLOAT16)
    assert find_deviation(wanted, {"classes": np.array([3, 5])}, BFLOAT16) == "'classes' differs"
