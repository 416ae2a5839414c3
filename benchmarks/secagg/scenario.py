"""What is measured: sizes, cohorts, dropouts, and how many neighbours pairwise masking needs to be safe."""

from dataclasses import dataclass
from functools import cache
from math import comb
from typing import Final

CORRUPT = 1 / 3
"""Fraction that may collude with the server: what our cohorts stand."""
PLANNED_DROPOUT = 0.2
"""Fraction that may vanish without the pairwise protocols' sum being lost."""
SECURITY_BITS, CORRECTNESS_BITS = 40, 30
CLIP = 0.03
SPREAD = 0.01
"""Standard deviation of the updates that are masked."""
WEIGHT = 16
SLOT_BITS: Final = 16


@dataclass(frozen=True)
class Scenario:
    """Sizes of one run. ``budget``: seconds that repeats of one measurement may take together."""

    dimensions: tuple[int, ...]
    headline: int
    small: int
    large: int
    cohort_max: int
    """Ours serves ``large`` clients in cohorts of at most so many."""
    dropouts: tuple[float, ...]
    budget: float
    whole: int
    """Values (masks × d) up to which a peer is measured whole."""

    @property
    def cohorts(self) -> list[int]:
        """Sizes of our cohorts for ``large`` clients, as equal as can be."""
        count = -(-self.large // self.cohort_max)
        return [self.large // count + (i < self.large % count) for i in range(count)]


FULL = Scenario(
    dimensions=(1 << 20, 1 << 22, 17_891_328),
    headline=1 << 22,
    small=64,
    large=1000,
    cohort_max=63,
    dropouts=(0.0, 0.2, 0.3),
    budget=2.0,
    whole=1 << 30,
)
QUICK = Scenario(
    dimensions=(20_000,),
    headline=20_000,
    small=9,
    large=20,
    cohort_max=7,
    dropouts=(0.0, 0.2),
    budget=0.0,
    whole=1 << 30,
)


def survivors(clients: int, dropout: float) -> int:
    """Clients that are left."""
    return clients - int(dropout * clients)


@dataclass(frozen=True)
class Neighbours:
    """k neighbours to a client, t shares to open a secret."""

    count: int
    threshold: int


@cache
def safe_neighbours(clients: int) -> Neighbours:
    """The smallest even k, with its t, for which pairwise masking with random neighbours is safe and survives.

    Bell, Bonawitz, Gascón, Lepoint, Raykova (CCS 2020), section 3: nobody has t corrupt neighbours, except with
    probability 2⁻⁴⁰, and nobody has fewer than t surviving ones, except with 2⁻³⁰; hypergeometric tails, union over
    all clients; a third corrupt, a fifth dropped.
    """
    others = clients - 1
    corrupt, left = int(CORRUPT * clients), others - int(PLANNED_DROPOUT * clients)
    for k in range(2, others + 1, 2):
        threshold = next(t for t in range(k + 2) if clients * _at_least(t, k, corrupt, others) <= 2.0**-SECURITY_BITS)
        if clients * (1 - _at_least(threshold, k, left, others)) <= 2.0**-CORRECTNESS_BITS:
            return Neighbours(k, threshold)
    raise ValueError(f"{clients} clients are too few for pairwise masking at these bounds.")


def _at_least(wanted: int, drawn: int, marked: int, total: int) -> float:
    """Probability that at least ``wanted`` of ``drawn`` out of ``total`` are among ``marked``."""
    ways = sum(comb(marked, i) * comb(total - marked, drawn - i) for i in range(wanted, min(drawn, marked) + 1))
    return ways / comb(total, drawn)
