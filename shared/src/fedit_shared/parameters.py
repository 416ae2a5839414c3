"""The protocol's numbers. Version 1 has one set of them: nothing is negotiated, so nothing can be downgraded.

Sources: Homomorphic Encryption Standard (2018), table for N = 4096 and uniform secrets: log₂ q ≤ 77 for 192-bit
classical security; here log₂ q = 61.9998. Bounds are derived in ``docs/protocol.md``.
"""

from dataclasses import dataclass
from functools import cached_property

from fedit_shared.errors import ProtocolError

DEGREE = 4096
"""N: coefficients of a ring element of Z_q[X]/(X^N + 1)."""
PRIMES = (2147377153, 2147352577)
"""p₀, p₁: the two largest primes ≡ 1 mod 2N below 2³¹; q = p₀·p₁."""
MODULUS = PRIMES[0] * PRIMES[1]
MESSAGE_BITS = 48
"""t: what a coefficient's message is taken modulo; the error sits above it."""
ERROR_HALF = 32
"""η: an error is the popcount of 32 bits minus that of 32 others: centred binomial, |e| ≤ 32."""
ERROR_SIGMA = 4.0
"""√(η/2)."""
ERROR_TAIL = 12.0
"""A sum of errors beyond 12·σ·√|U| shows that the opened secret is wrong."""
CHECKS = 4
"""Check polynomials per prime in a deal."""
COHORT_MIN, COHORT_MAX = 3, 255
LAYOUTS = {12: 4, 16: 3, 24: 2}
"""Bits of a slot → slots of a coefficient."""
EXTRA_SLOTS = 3
"""After the d parameters: the weight, the loss, the fraction clipped."""
EDGE_SHARE = 100
"""At most one in so many values of a tensor, rounded down, is sent as ±c: see :meth:`.quantize.Quantizer.prepare`."""
RECORDS_PER_WEIGHT = 32
"""w = min(W, ⌈examples / 32⌉)."""
LOSS_CEILING = 16.0
"""Nats; a higher mean loss is sent as this."""


@dataclass(frozen=True)
class CohortParameters:
    """What everybody computes from the number of members alone. Other values are refused."""

    members: int

    def __post_init__(self) -> None:
        if not COHORT_MIN <= self.members <= COHORT_MAX:
            raise ProtocolError(f"A cohort has {COHORT_MIN} to {COHORT_MAX} members, not {self.members}.")

    @cached_property
    def threshold(self) -> int:
        """r = ⌊2n/3⌋ + 1: so many answers open a sum."""
        return 2 * self.members // 3 + 1

    @cached_property
    def corrupt(self) -> int:
        """T = ⌊n/3⌋: so many members who pool their shares learn nothing."""
        return self.members // 3

    @cached_property
    def packing(self) -> int:
        """ℓ = r − T secret words to a sharing polynomial."""
        return self.threshold - self.corrupt

    @cached_property
    def blocks(self) -> int:
        """Sharing polynomials per prime."""
        return -(-DEGREE // self.packing)

    @cached_property
    def words(self) -> int:
        """uint32 words of an answer: a share of every block of both primes."""
        return 2 * self.blocks

    @cached_property
    def packet_words(self) -> int:
        """uint32 words of a packet: those of an answer, then the check words."""
        return self.words + 2 * CHECKS

    @cached_property
    def floor(self) -> int:
        """The fewest survivors that any member will vote for: max(T + 2, ⌊n/2⌋ + 1)."""
        return max(self.corrupt + 2, self.members // 2 + 1)


def levels(members: int, slot_bits: int, max_weight: int) -> int:
    """L = ⌊(2^b − 1)/(2·n·W)⌋: quantization steps from 0 to the clip range, so that no slot of a sum overflows.

    Raises ProtocolError where a slot is too small for the cohort.
    """
    if slot_bits not in LAYOUTS or max_weight < 1:
        raise ProtocolError(f"Slots of {slot_bits} bits with weights up to {max_weight} are not a layout of version 1.")
    count = ((1 << slot_bits) - 1) // (2 * members * max_weight)
    if count < 1:
        raise ProtocolError(
            f"Slots of {slot_bits} bits are too small for {members} members with weights up to {max_weight}.",
            advice="The operator sets more slot_bits, a smaller max_weight or a smaller cohort_max.",
        )
    return count


def rows(parameters: int, slot_bits: int) -> int:
    """Ring elements that carry ``parameters`` values and the extra slots."""
    return -(-(parameters + EXTRA_SLOTS) // (DEGREE * LAYOUTS[slot_bits]))


def upload_size(parameters: int, slot_bits: int) -> int:
    """Bytes of a masked vector: 8 a coefficient."""
    return rows(parameters, slot_bits) * DEGREE * 8
