"""Whether a candidate keeps within its budget of errors, decided on as few of the held-out images as will do.

A paired test: float32 and the candidate answer the same images, drawn in random order without replacement. What counts
are the images that only float32 gets right (losses) and those that only the candidate does (gains), as in McNemar's
test. Of N images, an unknown L are losses and G are gains; the budget is kept where L - G is at most `budget`. After
every batch the counts so far give a confidence set for (L, G): those for which the counts are not too unlikely, beside
what a prior expects (prior-posterior-ratio martingale; Waudby-Smith and Ramdas, "Confidence sequences for sampling
without replacement", NeurIPS 2020, arXiv:2006.04347). It holds at all times at once, so that looking after every batch
costs nothing: a decision ahead of the last image is wrong with a probability of at most ERROR. After the last image
nothing is left to chance.
"""

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ERROR = 1e-3

_PRIOR = (0.5, 0.5, 20.0)
"""Dirichlet parameters of losses, gains and the rest: one image in twenty differs. Others only decide later."""


@dataclass(slots=True)
class SequentialTest:
    """Counts of one candidate. `images` are all there are; `gains` says whether there can be any: where nobody knows
    what the images show, an answer is float32's, or it is lost.
    """

    images: int
    budget: int
    gains: bool = True
    seen: int = 0
    losses: int = 0
    gained: int = 0
    _log_factorials: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, self.images + 1)))])

    def add(self, lost: Any, gained: Any) -> None:
        """Of further images, bool [n] each."""
        self.seen += len(lost)
        self.losses += int(lost.sum())
        self.gained += int(gained.sum())

    def decide(self) -> bool | None:
        """Whether the budget is kept; None as long as nobody can tell."""
        net, left = self.losses - self.gained, self.images - self.seen
        if net + left <= self.budget:
            return True
        if net - (left if self.gains else 0) > self.budget:
            return False
        limit = math.log(ERROR) + self._expect()
        if self._most_likely(kept=False) <= limit:
            return True
        return False if self._most_likely(kept=True) <= limit else None

    def _expect(self) -> float:
        """Logarithm of the probability that the prior gives to one order of these counts."""
        counts = (self.losses, self.gained, self.seen - self.losses - self.gained)
        prior = _PRIOR if self.gains else (_PRIOR[0], 0.0, _PRIOR[2])
        total = sum(prior)
        expected = math.lgamma(total) - math.lgamma(total + self.seen)
        return expected + sum(
            math.lgamma(weight + count) - math.lgamma(weight)
            for weight, count in zip(prior, counts, strict=True)
            if weight
        )

    def _most_likely(self, kept: bool) -> float:
        """The same for the most likely (L, G) within the budget, or beyond it; minus infinity where there is none."""
        same = self.seen - self.losses - self.gained
        gains = np.arange(self.gained, self.images - self.losses - same + 1) if self.gains else np.zeros(1, np.int64)
        # For a given G the likelihood has one peak in L: at the share that was seen among the images that are no gains.
        without = self.losses + same
        peak = (self.losses * (self.images - gains + 1)) // without if without else np.full_like(gains, self.losses)
        most = self.images - gains - same
        if kept:
            losses, possible = np.minimum(peak, gains + self.budget), gains + self.budget >= self.losses
        else:
            losses, possible = np.maximum(peak, gains + self.budget + 1), gains + self.budget + 1 <= most
        losses = np.clip(losses, self.losses, np.maximum(most, self.losses))
        possible &= most >= self.losses
        if not possible.any():
            return -math.inf
        losses, gains = losses[possible], gains[possible]
        rest = self.images - losses - gains
        return float(
            np.max(
                self._log_ways(losses, self.losses) + self._log_ways(gains, self.gained) + self._log_ways(rest, same)
            )
            - self._log_ways(self.images, self.seen)
        )

    def _log_ways(self, of: Any, drawn: int) -> Any:
        """Logarithm of the orders in which `drawn` images can be drawn out of `of`."""
        return self._log_factorials[of] - self._log_factorials[of - drawn]
