"""Intervals of shares of independent records, each a hit or none. A bootstrap fails them: where all records are hits,
or none is, every draw is the same, and its interval has no width."""

import math
from statistics import NormalDist

import numpy as np

from .statistics import CONFIDENCE, NOTHING, Interval, Values

_Z = NormalDist().inv_cdf((1 + CONFIDENCE) / 2)


def share(hits: Values) -> Interval:
    """Of the ones among ``hits``, each 0 or 1, with Wilson's score interval (1927), which Brown, Cai and DasGupta
    (Statistical Science 16, 2001) recommend for few records; at the edges it has the width that it should have."""
    records = len(hits)
    if not records:
        return NOTHING
    found, square = float(np.sum(hits)) / records, _Z**2 / records
    middle = (found + square / 2) / (1 + square)
    half = _Z * math.sqrt(found * (1 - found) / records + square / (4 * records)) / (1 + square)
    return Interval(found, max(0.0, min(found, middle - half)), min(1.0, max(found, middle + half)))


def less(one: Values, other: Values) -> Interval:
    """The share of ``one`` less that of ``other``, paired by record: Newcombe's method 10 (Statistics in Medicine 17,
    1998, 2635–2650), which puts two of Wilson's intervals together by how the pairs hang together."""
    records = len(one)
    if not records:
        return NOTHING
    a, b = share(one), share(other)
    both, only, off = (float(np.sum(pairs)) for pairs in (one * other, one * (1 - other), (1 - one) * other))
    neither = records - both - only - off
    lean = both * neither - only * off
    if lean > 0:
        lean = max(lean - records / 2, 0.0)  # his continuity correction
    margins = (both + only) * (off + neither) * (both + off) * (only + neither)
    lean = lean / math.sqrt(margins) if margins else 0.0
    down, up = _apart(a.value - a.low, b.high - b.value, lean), _apart(a.high - a.value, b.value - b.low, lean)
    found = a.value - b.value
    return Interval(found, max(-1.0, found - down), min(1.0, found + up))


def _apart(one: float, other: float, lean: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * lean * one * other + other**2))


def are_shares(values: Values) -> bool:
    """Whether each value is 0 or 1."""
    return bool(np.isin(values, (0.0, 1.0)).all())
