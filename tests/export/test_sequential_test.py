"""Whether a candidate keeps its budget: decided early where that can be, hardly ever wrong, exact in the end."""

from typing import Any

import numpy as np
import pytest

from export.quantize.sequential_test import SequentialTest

BATCH = 8


def run(losses: int, gains: int, images: int, budget: int, seed: int, labelled: bool = True) -> tuple[bool, int]:
    """What it decides of so many losses and gains in random order, and after how many images."""
    kinds = np.zeros(images, int)
    kinds[:losses], kinds[losses : losses + gains] = 1, -1
    order = np.random.default_rng(seed).permutation(kinds)
    test = SequentialTest(images, budget, labelled)
    for start in range(0, images, BATCH):
        seen: Any = order[start : start + BATCH]
        test.add(seen == 1, seen == -1)
        decided = test.decide()
        if decided is not None:
            return decided, test.seen
    raise AssertionError("after the last image it has to know")


@pytest.mark.parametrize(
    ("losses", "gains", "images", "budget", "kept", "most"),
    [
        (900, 2, 1_000, 5, False, 80),
        (300, 10, 1_000, 5, False, 250),
        (60, 10, 1_000, 5, False, 700),
        (0, 0, 1_000, 5, True, 850),
        (0, 0, 10_000, 50, True, 2_100),
        (0, 0, 5, 0, True, 5),
        (1, 0, 5, 0, False, 5),
    ],
)
def test_it_decides_as_soon_as_it_can(losses: int, gains: int, images: int, budget: int, kept: bool, most: int) -> None:
    for seed in range(5):
        decided, seen = run(losses, gains, images, budget, seed)
        assert decided is kept and seen <= most


@pytest.mark.parametrize(("losses", "kept"), [(5, True), (60, False)])
def test_where_nothing_can_be_gained_it_decides_sooner(losses: int, kept: bool) -> None:
    sooner = [run(losses, 0, 312, 31, seed, labelled=False) for seed in range(10)]
    later = [run(losses, 0, 312, 31, seed) for seed in range(10)]
    assert {decided for decided, _ in sooner + later} == {kept}
    assert sum(seen for _, seen in sooner) < sum(seen for _, seen in later)


@pytest.mark.parametrize(("losses", "gains"), [(16, 10), (17, 10), (40, 34), (41, 34), (7, 1), (8, 1)])
def test_at_the_edge_of_the_budget_it_is_not_hasty(losses: int, gains: int) -> None:
    """Looked at after every batch, a plain test at 0.1 % would be wrong far more often."""
    kept = losses - gains <= 6
    assert all(run(losses, gains, 200, 6, seed)[0] is kept for seed in range(60))


def test_the_confidence_set_is_that_of_a_count_of_every_case() -> None:
    """Against the hypergeometric likelihood written out, for all losses and gains that there can be."""
    from math import comb, exp, factorial

    generator = np.random.default_rng(0)
    for _ in range(40):
        images = int(generator.integers(4, 25))
        seen = int(generator.integers(1, images))
        lost = int(generator.integers(0, seen + 1))
        gained = int(generator.integers(0, seen - lost + 1))
        budget = int(generator.integers(0, images // 2))
        same = seen - lost - gained
        orders = factorial(seen) // (factorial(lost) * factorial(gained) * factorial(same))
        test = SequentialTest(images, budget, seen=seen, losses=lost, gained=gained)
        for kept in (True, False):
            likelihoods = [
                comb(losses, lost) * comb(gains, gained) * comb(images - losses - gains, same) / comb(images, seen)
                for losses in range(images + 1)
                for gains in range(images - losses + 1)
                if (losses - gains <= budget) is kept
            ]
            found = exp(test._most_likely(kept)) * orders
            assert found == pytest.approx(max(likelihoods, default=0.0), abs=1e-12)
