"""When requests come: seconds from the start, ascending, float64 [N]."""

import numpy as np

from service.types import Array


def poisson(rate: float, seconds: float, chance: np.random.Generator) -> Array:
    """Independent users: exponential gaps."""
    return _until(chance.exponential(1 / rate, _enough(rate, seconds)), seconds)


def bursts(rate: float, seconds: float, chance: np.random.Generator, cv: float = 4.0) -> Array:
    """Gamma-distributed gaps with a coefficient of variation of `cv`: crowds and silences at the same mean rate."""
    shape = 1 / cv**2
    return _until(chance.gamma(shape, 1 / (rate * shape), 2 * _enough(rate, seconds)), seconds)


def diurnal(rate: float, seconds: float, chance: np.random.Generator) -> Array:
    """Poisson with a rate that swings between 0.2 and 1.8 times the mean, two days in all (by thinning)."""
    peak = 1.8 * rate
    times = poisson(peak, seconds, chance)
    now = rate * (1 - 0.8 * np.cos(4 * np.pi * times / seconds))
    return np.asarray(times[chance.random(len(times)) < now / peak])


def _enough(rate: float, seconds: float) -> int:
    return int(rate * seconds + 10 * np.sqrt(rate * seconds) + 100)


def _until(gaps: Array, seconds: float) -> Array:
    times = np.cumsum(gaps)
    return np.asarray(times[times < seconds])


PATTERNS = {"poisson": poisson, "bursts": bursts, "diurnal": diurnal}
