"""Who holds which records: a few categories each, as with real participants, and an evaluation set held apart."""

import random
from collections import defaultdict
from collections.abc import Sequence
from itertools import chain, zip_longest

from .records import Record


def split_for_clients(
    records: Sequence[Record], *, clients: int = 5, per_client: int = 24, seed: int = 0
) -> list[list[Record]]:
    """One file's worth of records for each client, from two or three categories, no record given twice.

    The categories stand in a ring, shuffled by ``seed``; the clients take arcs of 3, 2, 3, 2, … of them, so that
    neighbours' data differ and, with four clients and more, each of eight categories is held by somebody. A client's
    records alternate between its categories: any dozen in a row shows them all.

    Raises:
        ValueError: there are fewer than three categories, or too few records in one.
    """
    rng = random.Random(seed)
    pools = _by_category(records, rng)
    ring = sorted(pools)
    rng.shuffle(ring)
    if len(ring) < 3:
        raise ValueError(f"the records have {len(ring)} categories; a split needs three or more")
    start = 0
    files = []
    for client in range(clients):
        width = 3 - client % 2
        arc = [ring[(start + i) % len(ring)] for i in range(width)]
        start += width
        shares = [per_client // width + (i < per_client % width) for i in range(width)]
        files.append(_interleave([_take(pools, category, n) for category, n in zip(arc, shares, strict=True)]))
    return files


def evaluation_set(records: Sequence[Record], *, per_category: int = 6, seed: int = 0) -> list[Record]:
    """``per_category`` records of each category, category after category, chosen by ``seed``.

    Raises:
        ValueError: a category has fewer.
    """
    pools = _by_category(records, random.Random(seed))
    return [record for category in sorted(pools) for record in _take(pools, category, per_category)]


def _by_category(records: Sequence[Record], rng: random.Random) -> dict[str, list[Record]]:
    pools: dict[str, list[Record]] = defaultdict(list)
    for record in records:
        pools[record["category"]].append(record)
    for category in sorted(pools):
        rng.shuffle(pools[category])
    return pools


def _take(pools: dict[str, list[Record]], category: str, count: int) -> list[Record]:
    pool = pools[category]
    if len(pool) < count:
        raise ValueError(f"category {category!r} has {len(pool)} records left, {count} are needed")
    pools[category] = pool[count:]
    return pool[:count]


def _interleave(columns: list[list[Record]]) -> list[Record]:
    return [record for record in chain.from_iterable(zip_longest(*columns)) if record is not None]
