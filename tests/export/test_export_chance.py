"""What is no better than guessing is refused, and what cannot be shown is said."""

import numpy as np
import pytest
from scipy.stats import binomtest

from export.errors import ExportError
from export.verify import chance

LABELS = ("cat", "dog")


def classes(cats: int, dogs: int) -> np.ndarray:
    return np.repeat(np.array([0, 1], np.int32), [cats, dogs])


@pytest.mark.parametrize(("right", "count"), [(0, 5), (1, 2), (50, 100), (359, 359), (999, 1000)])
def test_the_bound_is_wilsons(right: int, count: int) -> None:
    interval = binomtest(right, count).proportion_ci(0.95, "wilson")
    assert chance.bound_accuracy(right / count, count) == pytest.approx(interval.low, abs=1e-6)


@pytest.mark.parametrize(
    ("right", "cats", "dogs"),
    [
        (0.5, 50, 50),
        (0.59, 50, 50),  # above a half, as guessing is once in thirty times
        (0.9, 90, 10),  # always "cat"
        (0.05, 90, 10),
        (0.5, 1, 1),
        (0.0, 2, 1),
    ],
)
def test_guessing_is_refused_and_forced_with_a_warning(right: float, cats: int, dogs: int) -> None:
    given = classes(cats, dogs)
    with pytest.raises(
        ExportError, match=r"refused to publish: .* better than guessing.*; train more, or .*--force"
    ) as no:
        chance.judge(right, given, LABELS, "train more", force=False)
    assert f"{right:.4f} of {cats + dogs} held-out images" in str(no.value)
    assert f"answering 'cat' always gets {cats / (cats + dogs):.4f}" in str(no.value)
    (warning,) = chance.judge(right, given, LABELS, "train more", force=True)
    assert "not shown to be better than guessing" in warning


@pytest.mark.parametrize(("right", "cats", "dogs"), [(0.61, 50, 50), (0.97, 90, 10), (1.0, 3, 3)])
def test_better_than_guessing_passes_without_a_word(right: float, cats: int, dogs: int) -> None:
    assert chance.judge(right, classes(cats, dogs), LABELS, "train more", force=False) == ()


def test_so_few_images_that_nothing_can_be_shown_are_told_of() -> None:
    (warning,) = chance.judge(1.0, classes(1, 1), LABELS, "train more", force=False)
    assert "too few images" in warning
