"""What it would cost to find a secret from masked vectors: the estimate that docs/protocol.md states.

    python -m benchmarks.hardness

The primal attack on plain LWE of dimension N with as many samples as it likes (a uniform secret is exchanged for one
that is distributed like the errors, at the price of N samples): BKZ of block size β succeeds where σ·√β ≤ δ^(2β−d−1) ·
q^(m/d) (Alkim et al. 2016), d = m + N + 1, and costs 8·d·2^(0.292β + 16.4); 0.265β in place of 0.292β with a quantum
computer. This is the model of the Homomorphic Encryption Standard (2018), whose table it reproduces for σ = 3.2. No
attack is known that gains from the ring.
"""

from dataclasses import dataclass
from math import comb, e, log2, pi, sqrt

from fedit_shared.parameters import DEGREE, ERROR_HALF, PRIMES

STANDARD_SIGMA = 8 / sqrt(2 * pi)
"""The Homomorphic Encryption Standard's."""
COEFFICIENTS = 17_891_328 // 3
"""Of the largest vector in the benchmarks, 16-bit slots."""


@dataclass(frozen=True)
class Cost:
    """Block size, lattice dimension; log₂ of the operations, on today's computers and on a quantum computer."""

    block: int
    dimension: int
    classical: float
    quantum: float


def primal(dimension: int, log_q: float, sigma: float) -> Cost:
    """The cheapest primal attack."""
    low, high = 60, dimension
    while low < high:
        block = (low + high) // 2
        _, reach = _best(dimension, log_q, block)
        low, high = (low, block) if log2(sigma) + log2(block) / 2 <= reach else (block + 1, high)
    lattice, _ = _best(dimension, log_q, low)
    overhead = 16.4 + log2(8 * lattice)
    return Cost(low, lattice, 0.292 * low + overhead, 0.265 * low + overhead)


def _best(dimension: int, log_q: float, block: int) -> tuple[int, float]:
    """The lattice dimension in which this block size reaches the largest σ·√β, and log₂ of that."""
    root = log2((pi * block) ** (1 / block) * block / (2 * pi * e)) / (2 * (block - 1))

    def reach(d: int) -> float:
        return (2 * block - d - 1) * root + (d - dimension - 1) * log_q / d

    best = max(range(dimension + 2, 3 * dimension, 8), key=reach)
    return best, reach(best)


def error_left(samples: int = COEFFICIENTS, taken: int = COEFFICIENTS) -> float:
    """σ of an error after the hybrid of docs/protocol.md ("Why it is private") in the ``taken`` of ``samples``
    coefficients where least of it is left: of the 2η bits, m ~ Bin(2η, ½) are unknown there, variance m/4."""
    bits, counted, variance = 2 * ERROR_HALF, 0.0, 0.0
    for unknown in range(bits + 1):
        here = min(samples * comb(bits, unknown) / 2**bits, taken - counted)
        counted, variance = counted + here, variance + here * unknown / 4
    return sqrt(variance / counted)


def main() -> None:
    """Print the estimates."""
    log_q = log2(PRIMES[0] * PRIMES[1])
    few = primal(DEGREE, log_q, error_left()).dimension - DEGREE
    for what, bits, sigma in (
        ("the standard's bound for 192 bits", 77, STANDARD_SIGMA),
        ("the standard's bound for 256 bits", 60, STANDARD_SIGMA),
        ("as drawn", log_q, sqrt(ERROR_HALF / 2)),
        ("after the hybrid", log_q, error_left()),
        (f"after it, the {few} best coefficients", log_q, error_left(taken=few)),
    ):
        cost = primal(DEGREE, bits, sigma)
        print(
            f"{what}: log q {bits:.1f}, σ {sigma:.2f}: β {cost.block}, d {cost.dimension}, "
            f"2^{cost.classical:.0f} operations, quantum 2^{cost.quantum:.0f}"
        )


if __name__ == "__main__":
    main()
