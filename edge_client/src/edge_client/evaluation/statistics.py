"""How sure a difference is: bootstrap over the evaluation's records (Efron & Tibshirani 1993, chapter 13, percentiles).

A figure is a ratio of sums over the records: a loss is Σ losses / Σ tokens, a score Σ scores / Σ records; of shares see
:mod:`.shares`. Records are
drawn anew with replacement, all of one record together; a difference between arms is *paired*: both are judged on the
same draw, so that what makes a record hard for both falls away.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
FEWEST = 10
"""Records from which on a bootstrap's interval is told: that of fewer is much too narrow, that of one a point."""
_AT_ONCE = 256
Values = NDArray[np.float64]


class Interval(NamedTuple):
    """A value and the interval that holds it with :data:`CONFIDENCE`; NaN where there is nothing to judge by."""

    value: float
    low: float
    high: float


NOTHING = Interval(math.nan, math.nan, math.nan)


class Draws:
    """``resamples`` draws of ``records`` records by ``seed``: the same for every arm, which is what pairs them."""

    def __init__(self, records: int, resamples: int, seed: int) -> None:
        random, shares = np.random.default_rng(seed), np.full(records, 1 / records) if records else np.empty(0)
        kind = np.uint16 if records < 2**16 else np.uint32  # 2,000 draws of 15,000 records: 60 MB
        self._counts = np.empty((resamples if records else 0, records), kind)
        for first in range(0, len(self._counts), _AT_ONCE):
            part = self._counts[first : first + _AT_ONCE]
            part[:] = random.multinomial(records, shares, len(part))

    def means(self, losses: Values, tokens: Values) -> Values:
        """Loss a token on each draw, (resamples,); ``losses``: of each record, or their differences."""
        sums, counted = np.empty(len(self._counts)), np.empty(len(self._counts))
        for first in range(0, len(self._counts), _AT_ONCE):
            part = self._counts[first : first + _AT_ONCE].astype(np.float64)
            sums[first : first + len(part)] = part @ losses
            counted[first : first + len(part)] = part @ tokens
        return sums / np.maximum(counted, 1)

    def interval(self, losses: Sequence[float] | Values, tokens: Sequence[int] | Values) -> Interval:
        """The loss a token with its interval."""
        sums, counted = np.array(losses, np.float64), np.array(tokens, np.float64)
        if not counted.sum():
            return NOTHING
        return around(float(sums.sum() / counted.sum()), self.means(sums, counted))

    def difference(self, one: Sequence[float], other: Sequence[float], tokens: Sequence[int]) -> Interval:
        """Loss of ``one`` less that of ``other``, paired by record."""
        return self.interval(np.array(one, np.float64) - np.array(other, np.float64), tokens)


def enough(found: Interval, records: int) -> Interval:
    """``found`` by bootstrap of so many records: NaN for its bounds where they are fewer than :data:`FEWEST`."""
    return found if records >= FEWEST else Interval(found.value, math.nan, math.nan)


def around(value: float, drawn: Values) -> Interval:
    """``value`` with the percentiles of what was drawn."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return Interval(value, float(low), float(high))
