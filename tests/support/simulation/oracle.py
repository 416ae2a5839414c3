"""What every sum has to be: kept aside, without any mask, whenever a device contributes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.demo.plain import plain_slots
from fedit_shared.parameters import EXTRA_SLOTS
from fedit_shared.secagg import Contribution, Session, Update
from fedit_shared.secagg.bodies import receipt_hash


class Given(NamedTuple):
    """One contribution: its integer slots (d + 3,), and the name of the delta in it."""

    session: Session
    slots: NDArray[np.int64]
    delta: bytes


@dataclass
class Oracle:
    """Contributions by the hash of their receipts."""

    given: dict[bytes, Given] = field(default_factory=dict)
    randomness: set[bytes] = field(default_factory=set)

    def note(self, session: Session, update: Update, randomness: bytes, made: Contribution) -> bool:
        """Keep a contribution; False if its randomness was used before."""
        fresh = randomness not in self.randomness
        self.randomness.add(randomness)
        delta = sha256(update.delta.tobytes()).digest()
        given = Given(session, plain_slots(session, update, randomness), delta)
        self.given[receipt_hash(made.deal, made.signature)] = given
        return fresh

    def total(self, receipts: Iterable[bytes]) -> NDArray[np.int64]:
        """The integer sum of the slots behind these receipts."""
        total: NDArray[np.int64] = np.sum([self.given[receipt].slots for receipt in receipts], axis=0)
        return total

    def mean(self, receipts: list[bytes]) -> tuple[NDArray[np.float64], int]:
        """The weighted mean of the updates behind these receipts, as quantized, and Σw. float64 (d,)."""
        total, session = self.total(receipts), self.given[receipts[0]].session
        weight, settings = int(total[-EXTRA_SLOTS]), session.settings
        levels = (2**settings.slot_bits - 1) // (2 * session.parameters.members * settings.max_weight)
        turn = session.turn
        clip = np.repeat(np.array(turn.pick(settings.clip)), turn.pick(turn.sizes))
        return clip / levels * (total[:-EXTRA_SLOTS] - levels * weight) / weight, weight
