"""Who takes part in which round, by the experiment's seed alone, so that it is known before anything is trained."""

import numpy as np
from numpy.typing import NDArray

from .settings import Clients

_DAY = 24


def select(clients: Clients, rounds: int, seed: int) -> list[list[int]]:
    """Each round's clients, rising.

    ``random``: drawn anew each round. ``round-robin``: in turns, in an order drawn once, so that everybody takes part
    equally often. ``availability``: drawn from those who are there when the round begins, at a random hour of the day;
    where they are too few, all of them and those who come next, as a round waits for them. When a client is there, see
    :func:`presence`.
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
            begins, lasts = presence(clients, random)
            drawn = [_there(begins, lasts, count, random) for _ in range(rounds)]
    return [sorted(int(client) for client in chosen) for chosen in drawn]


def presence(clients: Clients, random: np.random.Generator) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Of each client, the hour at which it comes, every day, and for how many hours it stays: ``online`` of the day on
    average; some half as long as others or less, as far as a day leaves room for that."""
    spread = min(clients.online / 2, 1 - clients.online)
    shares = random.uniform(clients.online - spread, clients.online + spread, clients.count)
    return random.uniform(0, _DAY, clients.count), shares * _DAY


def _there(
    begins: NDArray[np.float64], lasts: NDArray[np.float64], count: int, random: np.random.Generator
) -> NDArray[np.int64]:
    hour = random.uniform(0, _DAY)
    present = np.flatnonzero((hour - begins) % _DAY < lasts)
    if len(present) >= count:
        return random.choice(present, count, replace=False)
    absent = np.setdiff1d(np.arange(len(begins)), present)
    coming = absent[np.argsort((begins[absent] - hour) % _DAY)]
    return np.concatenate([present, coming[: count - len(present)]])
