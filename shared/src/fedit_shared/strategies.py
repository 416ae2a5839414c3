"""What is averaged of a LoRA adapter: which tensors a round trains, and which it sums. The one place that knows.

LoRA changes a weight W to W + (α/r)·B·A. A strategy gives each of the two factors a :class:`Role`, turn by turn; round
n has turn (n − 1) mod their number. Client, session, server and simulation all ask :class:`Turn`, and the round number
that they ask for is the one for which every muster in the roster was signed.

Masked aggregation gives Σ w·x over the survivors, and nothing else. So a strategy must need of the devices' values x
no more than that: ``summed`` says of each what x is, and why its mean is enough.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

T = TypeVar("T")
_FACTOR = re.compile(r"\.lora_(?:([AB])\.weight|embedding_([AB]))$")


class Role(Enum):
    """What a round does with a tensor."""

    SUM = "trained; the change is masked, summed, and published as its mean"
    KEEP = "trained; it stays on the device from round to round and is never sent"
    REST = "neither trained nor sent; it stays as published"


class Strategy(NamedTuple):
    """``turns``: the roles of A and B, one turn after the other. ``summed``: why a sum is all that it needs. ``told``:
    to participants, what leaves their machine."""

    turns: tuple[Mapping[str, Role], ...]
    summed: str
    told: str


STRATEGIES: Mapping[str, Strategy] = {
    "fedavg": Strategy(
        ({"A": Role.SUM, "B": Role.SUM},),
        "The changes of A and of B; published are their means (McMahan et al. 2017; FedIT, arXiv 2305.05644). The "
        "product of the means is not the mean of the products.",
        "The whole adapter is trained, and its change sent, masked.",
    ),
    "ffa-lora": Strategy(
        ({"A": Role.REST, "B": Role.SUM},),
        "The change of B. A is everywhere the same, and stays so: mean(B·A) = mean(B)·A exactly (FFA-LoRA, Sun et al., "
        "arXiv 2403.12313).",
        "Of the adapter's two factors, A stays as it is; B is trained, and its change sent, masked.",
    ),
    "rolora": Strategy(
        ({"A": Role.REST, "B": Role.SUM}, {"A": Role.SUM, "B": Role.REST}),
        "The change of B in odd rounds, of A in even ones. The other factor is everywhere the same during the round, so"
        " that the mean of the products is exact in each (RoLoRA, Chen et al., arXiv 2409.02346).",
        "Of the adapter's two factors, one round trains B, the next one A; the change of that one is sent, masked.",
    ),
    "shared-a": Strategy(
        ({"A": Role.SUM, "B": Role.KEEP},),
        "The change of A. Each device has a B of its own, which nobody else needs (FedSA-LoRA, Guo et al., arXiv "
        "2410.01463).",
        "The whole adapter is trained. Of its two factors, the change of A is sent, masked; B stays on this machine, "
        "is never sent, and makes the model your own. The published adapter has B as it was at the start, in a new "
        "one zero: without a B of one's own it is no more than the base model.",
    ),
}

REFUSED: Mapping[str, str] = {
    "fed-sb": "Fed-SB (arXiv 2502.15436) trains a matrix between a frozen B and a frozen A; the mean of that would be "
    "exact, but a LoRA adapter as PEFT saves it has no place for it",
    "scaffold": "SCAFFOLD (arXiv 1910.06378) could be summed, at twice the bytes, but its control variates are defined "
    "for plain SGD steps, not for AdamW's, and each device would have to keep one, which goes stale while it is away",
}
"""Names that people will try, and why they are not offered."""


def require_known(strategy: str) -> None:
    """Raise ValueError, with the reason, for a name that is not in STRATEGIES."""
    if strategy in REFUSED:
        raise ValueError(f"{strategy} is not offered: {REFUSED[strategy]}")
    if strategy not in STRATEGIES:
        raise ValueError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")


def require_fits(strategy: str, names: Iterable[str]) -> None:
    """Raise ValueError for a strategy that is unknown, or cannot be done on an adapter of tensors ``names``: but for
    fedavg each of them has to be an A or a B, and each turn has to have one to sum."""
    require_known(strategy)
    turns = STRATEGIES[strategy].turns
    if strategy == "fedavg":
        return
    factors = {name: _factor(name) for name in names}
    if odd := [name for name, factor in factors.items() if factor is None]:
        raise ValueError(f"{strategy} is for adapters of A and B alone; {odd[0]} is neither")
    if not all(any(roles[factor] is Role.SUM for factor in factors.values() if factor) for roles in turns):
        raise ValueError(f"{strategy} would have rounds of this adapter with nothing to sum")


def next_round(strategy: str, last: int, published: int | None) -> int:
    """The number of the round after round ``last`` (0: none yet) on an adapter version that round ``published`` made
    (None: the first version): the next number whose turn follows that version's. So the turn of a round that failed, or
    was rolled back, comes again."""
    return last + 1 + ((published or 0) - last) % len(STRATEGIES[strategy].turns)


@dataclass(frozen=True)
class Turn:
    """A round's ``roles`` for the tensors of a manifest, which have ``sizes`` values. ``number``: which of the
    strategy's turns it is, from 0."""

    sizes: tuple[int, ...]
    roles: tuple[Role, ...]
    number: int

    @cached_property
    def dimension(self) -> int:
        """d: values that are summed."""
        return sum(self.pick(self.sizes))

    def pick(self, values: Sequence[T], role: Role = Role.SUM) -> tuple[T, ...]:
        """Of ``values``, one for each tensor, those of the tensors with ``role``."""
        return tuple(value for value, own in zip(values, self.roles, strict=True) if own is role)

    def replaced(self, values: Sequence[T], summed: Sequence[T]) -> tuple[T, ...]:
        """``values``, one for each tensor, with ``summed`` in place of those of the tensors that are summed."""
        new = iter(summed)
        return tuple(next(new) if role is Role.SUM else old for old, role in zip(values, self.roles, strict=True))

    def take(self, vector: NDArray[np.float32], role: Role = Role.SUM) -> NDArray[np.float32]:
        """Of ``vector``, float32 over all tensors, the values of those with ``role``."""
        if all(own is role for own in self.roles):
            return vector
        parts = [vector[place] for place in self._places(role)]
        return np.concatenate(parts) if parts else vector[:0]

    def put(
        self, vector: NDArray[np.float32], values: NDArray[np.float32], role: Role = Role.SUM
    ) -> NDArray[np.float32]:
        """``vector`` with ``values`` in the places that :meth:`take` reads; neither is changed."""
        if all(own is role for own in self.roles):
            return values
        changed, start = vector.copy(), 0
        for place in self._places(role):
            end = start + place.stop - place.start
            changed[place] = values[start:end]
            start = end
        return changed

    def _places(self, role: Role) -> Iterator[slice]:
        start = 0
        for size, own in zip(self.sizes, self.roles, strict=True):
            if own is role:
                yield slice(start, start + size)
            start += size


def turn_of(strategy: str, tensors: Sequence[tuple[str, int]], round: int) -> Turn:
    """The turn of round ``round`` of a strategy that fits ``tensors``, the manifest's names and sizes."""
    turns = STRATEGIES[strategy].turns
    number = (round - 1) % len(turns)
    roles = tuple(turns[number].get(_factor(name) or "", Role.SUM) for name, _ in tensors)
    return Turn(tuple(size for _, size in tensors), roles, number)


def largest(strategy: str, tensors: Sequence[tuple[str, int]]) -> int:
    """Values that a round sums at most."""
    return max(turn_of(strategy, tensors, number).dimension for number in range(1, 1 + len(STRATEGIES[strategy].turns)))


def _factor(name: str) -> str | None:
    """A or B, by PEFT's name of the tensor; None for what belongs to no product."""
    found = _FACTOR.search(name)
    return None if found is None else found[1] or found[2]
