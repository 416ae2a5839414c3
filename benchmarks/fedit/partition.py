"""Who holds which records: a data set's records are dealt to simulated clients, by a seed.

The two partitions of FedIT's platform (Zhang et al., arXiv 2305.05644, section 4.1, as Shepherd's
``client_data_allocation.py`` has them) are :func:`shards` and :func:`dirichlet`. Every function gives one list of
record places a client, in rising order; no record is given twice.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from fedit_shared.errors import UserError

Places = list[list[int]]
TRIES = 1000
"""Draws of Dirichlet's shares until every client has the minimum."""


class Partition(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How records are dealt. ``shards`` a client, ``alpha`` and ``minimum`` belong to the kinds of these names."""

    kind: Literal["shards", "dirichlet", "iid", "category", "file"] = "shards"
    shards: Annotated[int, msgspec.Meta(ge=1, le=100)] = 2
    alpha: Annotated[float, msgspec.Meta(gt=0, le=1e6)] = 0.5
    minimum: Annotated[int, msgspec.Meta(ge=1)] = 40
    """Records that every client has at least under ``dirichlet``; Shepherd's number."""


def held_out(categories: Sequence[str], count: int, random: Generator) -> tuple[list[int], list[int]]:
    """(kept, held out): ``count`` records of each category for evaluation, the rest to be dealt.

    Raises UserError where a category has no more than ``count``.
    """
    out: list[int] = []
    for category, places in _by_label(categories).items():
        if len(places) <= count:
            raise UserError(
                f"{category!r} has {len(places)} records, too few to hold {count} of them out.",
                advice="Hold fewer out, or leave the category away.",
            )
        out += random.choice(places, count, replace=False).tolist()
    kept = set(range(len(categories))) - set(out)
    return sorted(kept), sorted(out)


def deal(
    partition: Partition, categories: Sequence[str], files: Sequence[int], clients: int, random: Generator
) -> Places:
    """The records of ``clients`` clients. ``categories``, ``files``: of each record, its category and the number of the
    file that it comes from. Raises UserError where the records do not do."""
    match partition.kind:
        case "iid":
            dealt = iid(len(categories), clients, random)
        case "shards":
            dealt = shards(categories, clients, partition.shards, random)
        case "dirichlet":
            dealt = dirichlet(categories, clients, partition.alpha, partition.minimum, random)
        case "category":
            dealt = by_label(categories, clients, "categories")
        case "file":
            dealt = by_label([str(file) for file in files], clients, "files")
    if empty := sum(not places for places in dealt):
        raise UserError(f"{empty} of {clients} clients would have no record.", advice="Take fewer clients.")
    return [sorted(places) for places in dealt]


def iid(records: int, clients: int, random: Generator) -> Places:
    """A shuffled data set cut into parts that differ by one record at most."""
    return [part.tolist() for part in np.array_split(random.permutation(records), clients)]


def shards(categories: Sequence[str], clients: int, each: int, random: Generator) -> Places:
    """Records sorted by category, cut into ``clients · each`` shards of one size, ``each`` of which a client gets:
    clients see few categories (McMahan et al. 2017, section 3; Shepherd's default with two)."""
    order = np.argsort(np.array(categories), kind="stable")
    parts = np.array_split(order, clients * each)
    drawn = random.permutation(len(parts)).reshape(clients, each)
    return [[int(place) for shard in row for place in parts[shard]] for row in drawn]


def dirichlet(categories: Sequence[str], clients: int, alpha: float, minimum: int, random: Generator) -> Places:
    """Each category is split by shares of the clients drawn from Dirichlet(α, …, α) (Yurochkin et al., arXiv
    1905.12022; Hsu et al., arXiv 1909.06335, draw shares of the categories instead, client by client). A client that
    has its even share already gets nothing of the next category, and all is drawn anew until every client has
    ``minimum`` records: both as in Shepherd's ``client_data_allocation.py``."""
    groups = list(_by_label(categories).values())
    if len(categories) < clients * minimum:
        raise UserError(
            f"{len(categories)} records do not give {clients} clients {minimum} each.",
            advice="Take fewer clients, or a smaller minimum.",
        )
    for _ in range(TRIES):
        dealt: Places = [[] for _ in range(clients)]
        for group in groups:
            open_ = np.array([len(places) < len(categories) / clients for places in dealt])
            ends = _ends(random.dirichlet(np.full(clients, alpha)), open_, len(group))
            for places, part in zip(dealt, np.split(random.permutation(group), ends), strict=True):
                places += part.tolist()
        if min(map(len, dealt)) >= minimum:
            return dealt
    raise UserError(
        f"In {TRIES} draws with alpha {alpha:g} not every client had {minimum} records.",
        advice="Take a larger alpha, a smaller minimum or fewer clients.",
    )


def by_label(labels: Sequence[str], clients: int, what: str) -> Places:
    """One label a client. Raises UserError unless there are as many labels as clients."""
    groups = _by_label(labels)
    if len(groups) != clients:
        raise UserError(f"There are {len(groups)} {what}, not {clients}.", advice=f"Take {len(groups)} clients.")
    return [places.tolist() for places in groups.values()]


def _by_label(labels: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    array = np.array(labels)
    return {str(label): np.flatnonzero(array == label) for label in sorted(set(labels))}


def _ends(shares: NDArray[np.float64], open_: NDArray[np.bool_], count: int) -> NDArray[np.int64]:
    """Where ``count`` records are cut so that those who are ``open_`` have them by their shares: evenly if a small α
    left them none."""
    own = shares * open_ if (shares * open_).sum() > 0 else open_.astype(np.float64)
    return np.round(np.cumsum(own / own.sum())[:-1] * count).astype(np.int64)


def heterogeneity(categories: Sequence[str], dealt: Places) -> float:
    """How unlike the clients are: the mean total variation distance between a client's categories and everybody's.
    0: all alike; near 1: each has what nobody else has."""
    names = sorted(set(categories))
    place_of = {name: number for number, name in enumerate(names)}
    counts = np.zeros((len(dealt), len(names)))
    for row, places in zip(counts, dealt, strict=True):
        for place in places:
            row[place_of[categories[place]]] += 1
    overall = counts.sum(axis=0) / counts.sum()
    own = counts / counts.sum(axis=1, keepdims=True)
    return float(np.abs(own - overall).sum(axis=1).mean() / 2)
