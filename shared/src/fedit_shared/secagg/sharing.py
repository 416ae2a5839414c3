"""Packed Shamir sharing (Franklin–Yung 1992) of a vector mod p, share by share addable.

A polynomial of degree < r takes its values at x = −1 … −ℓ from the secret and at x = −ℓ−1 … −r from fresh randomness;
member k's share is its value at x = k. Any T = r − ℓ shares are independent of the secret; r determine it.
"""

from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from fedit_shared.compiled import constant
from fedit_shared.parameters import DEGREE, PRIMES, CohortParameters

from .kernels import matrix_product

Words = NDArray[np.uint32]


def to_blocks(parameters: CohortParameters, secret: Words) -> Words:
    """One prime's secret, uint32 (N,), as columns: uint32 (ℓ, blocks); what is left of the last column is 0."""
    padded = np.zeros(parameters.blocks * parameters.packing, np.uint32)
    padded[:DEGREE] = secret
    return np.ascontiguousarray(padded.reshape(parameters.blocks, parameters.packing).T)


def from_blocks(parameters: CohortParameters, columns: Words) -> Words | None:
    """The inverse of :func:`to_blocks`; None if the padding is not 0."""
    flat = columns.T.reshape(-1)
    return None if flat[DEGREE:].any() else np.ascontiguousarray(flat[:DEGREE])


def share(parameters: CohortParameters, values: Words, prime: int) -> Words:
    """Shares, uint32 (n, columns), of polynomials given by their values at −1 … −r, uint32 (r, columns)."""
    members = tuple(range(1, parameters.members + 1))
    points = tuple(-x for x in range(1, parameters.threshold + 1))
    return evaluate(points, values, members, prime)


def evaluate(points: tuple[int, ...], values: Words, at: tuple[int, ...], prime: int) -> Words:
    """Values at ``at``, uint32 (len(at), columns), of the polynomials of degree < len(points) through ``values`` at
    ``points``, uint32 (len(points), columns)."""
    product: Words = matrix_product(lagrange(points, at, prime), constant(values), np.uint64(PRIMES[prime]))
    return product


@lru_cache(maxsize=64)
def lagrange(points: tuple[int, ...], at: tuple[int, ...], prime: int) -> Words:
    """The matrix, uint32 (len(at), len(points)), from values at ``points`` to values at ``at``, mod the prime.

    Barycentric form; ``at`` and ``points`` have no member in common.
    """
    p = np.int64(PRIMES[prime])
    columns, rows = np.array(points, np.int64), np.array(at, np.int64)
    whole, weights = np.ones_like(rows), np.ones_like(columns)
    for place, x in enumerate(columns):
        whole = whole * ((rows - x) % p) % p
        apart = (columns - x) % p
        apart[place] = 1
        weights = weights * apart % p
    gaps = (rows[:, None] - columns) % p
    return (whole[:, None] * _inverses(weights, prime) % p * _inverses(gaps, prime) % p).astype(np.uint32)


def _inverses(values: NDArray[np.int64], prime: int) -> NDArray[np.int64]:
    different, places = np.unique(values, return_inverse=True)
    inverses = np.array([_inverse(value, PRIMES[prime]) for value in different.tolist()], np.int64)
    return inverses[places].reshape(values.shape)


@cache
def _inverse(value: int, p: int) -> int:
    return pow(value, -1, p)
