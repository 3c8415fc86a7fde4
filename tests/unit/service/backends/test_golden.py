"""How far a loaded version's answers may be from those at export."""

import numpy as np
import pytest

from service.backends.base import Golden
from service.backends.golden import BFLOAT16, find_mismatch
from service.repository.manifest import PROBABILITIES, Manifest

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
