"""What counts as flat: a leak is seen, a few odd samples are not."""

import random

import pytest

from tests.soak.flatness import trend

TIMES = [6.0 * number for number in range(100)]


def test_odd_samples_do_not_decide() -> None:
    chance = random.Random(7)
    values = [150 + chance.uniform(-2, 2) for _ in TIMES]
    values[90:] = [400.0] * 10
    found = trend(TIMES, values)
    assert found.first == pytest.approx(150, abs=3) and found.is_flat(0.05, 5)


def test_a_leak_is_seen_through_the_noise() -> None:
    chance = random.Random(7)
    values = [150 + time / 20 + chance.uniform(-10, 10) for time in TIMES]
    found = trend(TIMES, values)
    assert found.growth == pytest.approx(30, abs=5) and not found.is_flat(0.1, 10)
    assert found.is_flat(0.3, 0), "as far as may be"


def test_one_more_series_a_swap_is_seen() -> None:
    assert not trend(TIMES, [100 + number // 2 for number in range(100)]).is_flat(0.02, 10)


def test_what_shrinks_is_flat() -> None:
    assert trend(TIMES, [100 - time / 10 for time in TIMES]).is_flat(0, 0)


def test_a_few_samples_say_nothing() -> None:
    with pytest.raises(ValueError, match="takes 6 samples, got 3"):
        trend([1, 2, 3], [1, 2, 3])
