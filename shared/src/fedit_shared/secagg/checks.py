"""Check values: do a dealer's packets lie on polynomials of degree < r, without opening the secret?

A deal carries, per prime, four uniform polynomials g₁ … g₄ beside the secret's blocks f₁ … f_B; they are opened here
and never summed. Member k reports g_c(k) + Σ_B ρ_c^B·f_B(k) with ρ_c drawn from the deal's hash: a word that is off its
polynomial shows with probability 1 − (blocks/p)⁴. The exponent begins at 1: at 0 a dealer could cancel its own error.
"""

from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import CHECKS, PRIMES, CohortParameters

from .kernels import combine


def challenge(deal: bytes, prime: int, check: int) -> int:
    """ρ_c: SHA256("fedit/1/check\\0" ‖ deal ‖ prime1 ‖ c1 ‖ counter4) mod 2³¹ of its first 4 bytes, counter rising
    until it lies in 1 … p − 1. ``check`` is c − 1."""
    head = b"fedit/1/check\0" + deal + bytes([prime, check + 1])
    counter = 0
    while True:
        digest = sha256(head + counter.to_bytes(4, "little")).digest()
        value = int.from_bytes(digest[:4], "little") & ((1 << 31) - 1)
        if 1 <= value < PRIMES[prime]:
            return value
        counter += 1


def check_values(parameters: CohortParameters, deal: bytes, packet: NDArray[np.uint32]) -> tuple[int, ...]:
    """The eight values to report for one opened packet, uint32 (packet_words,)."""
    blocks = parameters.blocks
    openings = packet[parameters.words :].reshape(2, CHECKS)
    return tuple(
        int(
            combine(
                packet[prime * blocks : (prime + 1) * blocks],
                np.uint64(challenge(deal, prime, check)),
                np.uint64(openings[prime, check]),
                np.uint64(PRIMES[prime]),
            )
        )
        for prime in range(2)
        for check in range(CHECKS)
    )
