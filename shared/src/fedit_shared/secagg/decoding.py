"""Reed–Solomon decoding: which of the values given at distinct points do not lie on one polynomial of degree < r?

By syndromes (Sugiyama et al. 1975): with m values at points x_k ≠ 0, and u_k = 1/Π_{l≠k}(x_k − x_l), the m − r numbers
S_i = Σ_k u_k·y_k·x_k^i are 0 if and only if the values lie on such a polynomial; else S = Ω/Λ mod X^(m−r), where Λ =
Π(1 − x_k·X) over the wrong places, which Euclid's algorithm finds if they are (m − r)/2 at most.

Members may choose their values to make this slow: however they lie, several columns take one decoding together, at most
(m − r)/2 divisions, unless they foresee a hash.
"""

from collections.abc import Iterator, Sequence
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.compiled import constant
from fedit_shared.parameters import PRIMES

from .kernels import matrix_product
from .sharing import distances, inverses

Residues = NDArray[np.int64]
"""Residues mod one prime. A polynomial's coefficients begin with the constant one; the last is not 0."""


def off_places(points: Sequence[int], words: NDArray[np.uint32], degree: int, prime: int) -> set[int] | None:
    """Places (rows) of ``words``, uint32 (m, columns), where some column is off its polynomial of degree < ``degree``.

    ``points``: m > ``degree`` different ones, not 0. None if no ⌊(m − degree)/2⌋ places or fewer are the wrong ones of
    all columns; there are no two such sets.
    """
    p = PRIMES[prime]
    x = np.array(points, np.int64) % p
    syndromes = _syndromes(x, words, degree, prime)
    off: set[int] = set()
    for line in _lines(syndromes, p):
        if _explained(syndromes, x[sorted(off)], p):
            break
        found = _wrong_places(line, x, p)
        if found is None:
            return None
        off |= found
        if 2 * len(off) > len(points) - degree:
            return None
    return off


def _syndromes(x: Residues, words: NDArray[np.uint32], degree: int, prime: int) -> Residues:
    """(m − degree, columns)."""
    p = PRIMES[prime]
    rows = np.empty((x.size - degree, x.size), np.uint32)
    row = inverses(distances(x, p), prime)
    for i in range(len(rows)):
        rows[i] = row
        row = row * x % p
    product: NDArray[np.uint32] = matrix_product(rows, constant(np.ascontiguousarray(words)), np.uint64(p))
    return product.astype(np.int64)


def _lines(syndromes: Residues, p: int) -> Iterator[Residues]:
    """What to decode, until all is explained: all columns in one, by a number that a liar would have to foresee, in
    which errors cancel with probability columns/p; then each by itself."""
    rho = 1 + int.from_bytes(sha256(syndromes.tobytes()).digest()[:8], "little") % (p - 1)
    total = np.zeros(len(syndromes), np.int64)
    for column in syndromes.T:
        total = (total * rho + column) % p
    yield total
    yield from syndromes.T


def _explained(syndromes: Residues, wrong: Residues, p: int) -> bool:
    """Whether all columns lie on polynomials but for their values at the points ``wrong``: Λ·S has no other
    coefficients than Ω's."""
    left = syndromes
    for x in wrong:
        left = left.copy() if left is syndromes else left
        left[1:] = (left[1:] - x * left[:-1]) % p
    return not left[wrong.size :].any()


def _wrong_places(line: Residues, x: Residues, p: int) -> set[int] | None:
    """The places, of the points ``x``, whose errors have these syndromes; None if there are more than can be told."""
    before, rest = np.append(np.zeros(line.size, np.int64), 1), _trim(line)
    factor_before, factor = np.zeros(0, np.int64), np.ones(1, np.int64)
    while 2 * (rest.size - 1) >= line.size:
        before, rest, factor_before, factor = rest, *_division(before, rest, factor_before, factor, p)
    if rest.size >= factor.size:
        return None
    value = np.zeros_like(x)
    for coefficient in factor:  # Λ is 0 at 1/x
        value = (value * x + coefficient) % p
    places = np.flatnonzero(value == 0)
    return set(places.tolist()) if places.size == factor.size - 1 else None


def _division(
    top: Residues, bottom: Residues, factor_top: Residues, factor_bottom: Residues, p: int
) -> tuple[Residues, Residues, Residues]:
    """One step of Euclid's algorithm: the rest of ``top`` divided by ``bottom``, and the factors, carried along."""
    rest, inverse = top.copy(), pow(int(bottom[-1]), -1, p)
    size = top.size - bottom.size + factor_bottom.size
    factor = np.append(factor_top, np.zeros(size - factor_top.size, np.int64))
    for at in range(top.size - bottom.size, -1, -1):
        scale = int(rest[at + bottom.size - 1]) * inverse % p
        rest[at : at + bottom.size] = (rest[at : at + bottom.size] - scale * bottom) % p
        part = factor[at : at + factor_bottom.size]
        part[:] = (part - scale * factor_bottom) % p
    return _trim(rest), factor_bottom, _trim(factor)


def _trim(polynomial: Residues) -> Residues:
    places = np.flatnonzero(polynomial)
    return polynomial[: places[-1] + 1 if places.size else 0]
