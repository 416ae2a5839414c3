"""Packed Shamir sharing (Franklin–Yung 1992) of a vector mod p, share by share addable.

A polynomial of degree < r takes its values at x = −1 … −ℓ from the secret and at x = −ℓ−1 … −r from fresh randomness;
member k's share is its value at x = k. Any T = r − ℓ shares are independent of the secret; r determine it.
"""

from functools import lru_cache

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
    p = PRIMES[prime]
    columns, rows = np.array(points, np.int64), np.array(at, np.int64)
    gaps = (rows[:, None] - columns) % p
    different, places = np.unique(gaps, return_inverse=True)  # few: points lie close together
    shares = inverses(different, prime)[places].reshape(gaps.shape)
    return (_product(gaps.T, p)[:, None] * inverses(distances(columns, p), prime) % p * shares % p).astype(np.uint32)


def distances(points: NDArray[np.int64], p: int) -> NDArray[np.int64]:
    """Π_{l≠k} (x_k − x_l) mod p for every k: the inverses of the barycentric weights."""
    apart = (points - points[:, None]) % p
    np.fill_diagonal(apart, 1)
    return _product(apart, p)


def inverses(values: NDArray[np.int64], prime: int) -> NDArray[np.int64]:
    """1/v mod the prime for every v ≠ 0, by Fermat."""
    p = PRIMES[prime]
    result, power = np.ones_like(values), values
    for bit in reversed(bin(p - 2)[2:]):
        if bit == "1":
            result = result * power % p
        power = power * power % p
    return result


def _product(factors: NDArray[np.int64], p: int) -> NDArray[np.int64]:
    """The product of the rows mod p."""
    while len(factors) > 1:
        half = len(factors) // 2
        factors = np.concatenate([factors[:half] * factors[half : 2 * half] % p, factors[2 * half :]])
    return factors.reshape(-1)
