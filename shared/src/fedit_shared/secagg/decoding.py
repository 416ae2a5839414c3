"""Reed–Solomon decoding: which of the values given at distinct points do not lie on one polynomial of degree < r?

Gao's algorithm (2003): with m values, up to ⌊(m − r)/2⌋ wrong ones are found. Plain Python integers: it runs only when
somebody lied, on a handful of codewords.
"""

from collections.abc import Sequence, Set

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import PRIMES

from .sharing import evaluate

Polynomial = list[int]


def off_places(
    points: Sequence[int], words: NDArray[np.uint32], degree: int, prime: int, suspects: Set[int] = frozenset()
) -> set[int] | None:
    """Places (rows) of ``words``, uint32 (m, columns), where some column is off its polynomial of degree < ``degree``.

    None if a column lies on no such polynomial, up to ⌊(m − degree)/2⌋ wrong values. m > ``degree``. ``suspects``:
    places that are tried first as the wrong ones, which saves decoding; within the bound there is one solution only,
    so the result is the same whoever is suspected.
    """
    if 2 * len(suspects) <= len(points) - degree:
        trusted = [place for place in range(len(points)) if place not in suspects]
        head, rest = trusted[:degree], [*trusted[degree:], *suspects]
        through = evaluate(tuple(points[i] for i in head), words[head], tuple(points[i] for i in rest), prime)
        wrong = {place for place, same in zip(rest, (through == words[rest]).all(axis=1), strict=True) if not same}
        if wrong <= suspects:
            return wrong
    off: set[int] = set()
    for column in words.T:
        found = wrong_values(points, [int(word) for word in column], degree, prime)
        if found is None:
            return None
        off |= found
    return off


def wrong_values(points: Sequence[int], values: Sequence[int], degree: int, prime: int) -> set[int] | None:
    """Places of ``values`` that are off the one polynomial of degree < ``degree``; None if there is no such polynomial
    within the bound."""
    p = PRIMES[prime]
    whole: Polynomial = [1]
    for x in points:
        whole = _multiply(whole, [-x % p, 1], p)
    through = _interpolate(points, values, whole, p)
    before, now = whole, through
    factor_before: Polynomial = []
    factor: Polynomial = [1]
    while 2 * (len(now) - 1) >= len(points) + degree:
        quotient, rest = _divide(before, now, p)
        before, now = now, rest
        factor_before, factor = factor, _subtract(factor_before, _multiply(quotient, factor, p), p)
    message, rest = _divide(now, factor, p)
    if rest or len(message) > degree:
        return None
    # factor has degree ⌊(m − degree)/2⌋ at most, and is 0 wherever a value is wrong
    return {place for place, x in enumerate(points) if (_evaluate(message, x, p) - values[place]) % p}


def _interpolate(points: Sequence[int], values: Sequence[int], whole: Polynomial, p: int) -> Polynomial:
    total = [0] * len(points)
    for x, value in zip(points, values, strict=True):
        basis, _ = _divide(whole, [-x % p, 1], p)
        scale = value * pow(_evaluate(basis, x, p), -1, p) % p
        for i, coefficient in enumerate(basis):
            total[i] = (total[i] + scale * coefficient) % p
    return _trim(total)


def _evaluate(polynomial: Polynomial, x: int, p: int) -> int:
    value = 0
    for coefficient in reversed(polynomial):
        value = (value * x + coefficient) % p
    return value


def _multiply(left: Polynomial, right: Polynomial, p: int) -> Polynomial:
    product = [0] * (len(left) + len(right) - 1) if left and right else []
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            product[i + j] = (product[i + j] + a * b) % p
    return _trim(product)


def _subtract(left: Polynomial, right: Polynomial, p: int) -> Polynomial:
    size = max(len(left), len(right))
    padded = zip(left + [0] * (size - len(left)), right + [0] * (size - len(right)), strict=True)
    return _trim([(a - b) % p for a, b in padded])


def _divide(top: Polynomial, bottom: Polynomial, p: int) -> tuple[Polynomial, Polynomial]:
    rest = list(top)
    quotient = [0] * max(len(top) - len(bottom) + 1, 0)
    inverse = pow(bottom[-1], -1, p)
    for at in range(len(quotient) - 1, -1, -1):
        scale = rest[at + len(bottom) - 1] * inverse % p
        quotient[at] = scale
        for i, coefficient in enumerate(bottom):
            rest[at + i] = (rest[at + i] - scale * coefficient) % p
    return _trim(quotient), _trim(rest)


def _trim(polynomial: Polynomial) -> Polynomial:
    while polynomial and polynomial[-1] == 0:
        polynomial.pop()
    return polynomial
