"""Who takes part: the draw of a fraction, and forming cohorts of those who mustered. Pure."""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Mapping
from hashlib import sha256
from itertools import pairwise
from typing import NamedTuple

from .rounds.causes import FULL, below_floor


def place(seed: bytes, identity: bytes) -> bytes:
    """Where ``seed`` puts a device among others: SHA-256(seed ‖ identity)."""
    return sha256(seed + identity).digest()


class Draw:
    """A round's draw: the ``fraction`` of the devices whose places come first, at least ``minimum`` of them.

    It follows the devices known now. Each whole ``widening`` doubles the share, so that a round whose drawn devices
    sleep does not wait for them for ever; who has been drawn once stays so by the caller's record.
    """

    def __init__(self, seed: bytes, fraction: float, minimum: int, identities: Iterable[bytes] = ()) -> None:
        self._seed = seed
        self._fraction = fraction
        self._minimum = minimum
        self._places = sorted(place(seed, identity) for identity in identities)

    def add(self, identity: bytes) -> None:
        """A device has joined."""
        insort(self._places, place(self._seed, identity))

    def includes(self, identity: bytes, widenings: int = 0) -> bool:
        """Whether ``identity``, one of the devices, is drawn."""
        share = self._fraction * 2.0 ** min(widenings, 64)
        if share >= 1:
            return True
        count = max(self._minimum, math.ceil(share * len(self._places)))
        return bisect_left(self._places, place(self._seed, identity)) < count


class Plan(NamedTuple):
    """Cohorts, each a rising tuple of identities, and who is left out with the reason."""

    cohorts: tuple[tuple[bytes, ...], ...]
    left_out: dict[bytes, str]


def form(floors: Mapping[bytes, int], *, partition: bytes, smallest: int, largest: int) -> Plan:
    """Cohorts of ``smallest`` to ``largest`` members; none if there are too few.

    ``floors``: identity → the fewest survivors that it demands. One cohort if all fit, else as few as possible, of
    equal size, neighbours by ``place(partition, …)``: the same ``partition`` gives nearly the same cohorts again.
    Members whose floor their cohort's size cannot meet are left out, the most demanding first.
    """
    left_out: dict[bytes, str] = {}
    order = sorted(floors, key=lambda identity: place(partition, identity))
    while len(order) >= smallest:
        cohorts, surplus = _cut(order, smallest, largest)
        unmet = {identity: len(cohort) for cohort in cohorts for identity in cohort if floors[identity] > len(cohort)}
        if not unmet:
            left_out |= dict.fromkeys(surplus, FULL)
            return Plan(tuple(tuple(sorted(cohort)) for cohort in cohorts), left_out)
        worst = max(floors[identity] for identity in unmet)
        for identity, size in unmet.items():
            if floors[identity] == worst:
                left_out[identity] = below_floor(worst, size)
                order.remove(identity)
    return Plan((), left_out)


def _cut(order: list[bytes], smallest: int, largest: int) -> tuple[list[list[bytes]], list[bytes]]:
    """``order`` in as few runs as possible, sizes differing by at most 1, and what is over."""
    count = -(-len(order) // largest)
    if len(order) < count * smallest:  # one cohort fewer, and filled
        count -= 1
    taken = order[: count * largest]
    bounds = [len(taken) * k // count for k in range(count + 1)]
    return [taken[a:b] for a, b in pairwise(bounds)], order[len(taken) :]
