"""Who takes part in which round, by the experiment's seed alone, so that it is known before anything is trained."""

import numpy as np
from numpy.typing import NDArray

from .settings import Clients

_DAY = 24


def select(clients: Clients, rounds: int, seed: int) -> list[list[int]]:
    """Each round's clients, rising.

    ``random``: drawn anew each round. ``round-robin``: in turns, in an order drawn once, so that everybody takes part
    equally often. ``availability``: drawn from those who can be reached when the round begins; rounds begin at random
    hours, each client is there from an hour of its own for ``online`` of the day, half as long to half as long again,
    and a round waits from hour to hour until enough are there.
    """
    random = np.random.default_rng([seed, 1])
    count = clients.each_round
    match clients.selection:
        case "random":
            drawn = [random.choice(clients.count, count, replace=False) for _ in range(rounds)]
        case "round-robin":
            order = random.permutation(clients.count)
            drawn = [
                order[np.arange(start, start + count) % clients.count] for start in range(0, rounds * count, count)
            ]
        case "availability":
            begins = random.uniform(0, _DAY, clients.count)
            lasts = np.minimum(1, clients.online * random.uniform(0.5, 1.5, clients.count)) * _DAY
            drawn = [_there(begins, lasts, count, random) for _ in range(rounds)]
    return [sorted(int(client) for client in chosen) for chosen in drawn]


def _there(
    begins: NDArray[np.float64],
    lasts: NDArray[np.float64],
    count: int,
    random: np.random.Generator,
) -> NDArray[np.int64]:
    """``count`` of those who are there at a random hour or, if they are too few, as soon as enough are; where that is
    never, of those who are there most."""
    hours = (random.uniform(0, _DAY) + np.arange(_DAY)) % _DAY
    present = [np.flatnonzero((hour - begins) % _DAY < lasts) for hour in hours]
    enough = next((those for those in present if len(those) >= count), np.argsort(-lasts)[:count])
    return random.choice(enough, count, replace=False)
