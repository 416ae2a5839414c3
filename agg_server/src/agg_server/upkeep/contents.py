"""What a federation's database says must lie among its blobs, and whether it does. Blocks on the disk."""

from collections.abc import Collection, Iterator
from hashlib import sha256
from typing import NamedTuple

from sqlalchemy import Connection

from fedit_shared.strategies import STRATEGIES

from ..adapters.optimizer import OPTIMIZERS
from ..adapters.publishing import adapter_key, state_key
from ..errors import CorruptError
from ..storage.hashed import load_hashed
from ..storage.kinds import Storage
from ..storage.rooms import sum_key
from ..store import AdapterVersion, Journal, Retention, Versions


class Wanted(NamedTuple):
    """A blob that there should be. ``adapter``: its hash is its name; None: its hash is inside. ``optional``: it was
    pruned, or nobody knows whether it ever was."""

    key: str
    what: str
    adapter: bytes | None
    optional: bool


def wanted(connection: Connection, needed: Collection[int]) -> list[Wanted]:
    """All blobs that outlast their round: adapter versions, optimizers' states, opened sums. ``needed``: the versions
    that are there though older ones than they were pruned."""
    pruned = Retention().pruned(connection)
    found: list[Wanted] = []
    for version in Versions().all(connection):
        found += _of_version(version, 0 < version.version <= pruned.versions and version.version not in needed)
    for report in Journal().reports(connection):
        for cohort in report.cohorts:
            if cohort.loss is not None:
                what = f"The opened sum of cohort {cohort.cohort[:16]} (round {report.round})"
                found.append(Wanted(sum_key(bytes.fromhex(cohort.cohort)), what, None, report.round <= pruned.rounds))
    return found


def _of_version(version: AdapterVersion, pruned: bool) -> Iterator[Wanted]:
    named = f"dapter version {version.version}"
    yield Wanted(adapter_key(version.adapter), f"A{named}", version.adapter, pruned)
    for optimizer in OPTIMIZERS:
        for strategy in STRATEGIES:
            key = state_key(version.adapter, optimizer, strategy)
            yield Wanted(key, f"The state of {optimizer} ({strategy}) beside a{named}", None, True)


def read_whole(blobs: Storage, blob: Wanted) -> bytes | None:
    """The blob's bytes, their hash checked; None for an optional one that is not there. Raises CorruptError."""
    advice = "Put it back from a backup: the same path below its folder blobs/."
    try:
        data = blobs.read(blob.key)
    except FileNotFoundError:
        if blob.optional:
            return None
        raise CorruptError(f"{blob.what} is missing: {blob.key}.", advice=advice) from None
    damaged = CorruptError(f"{blob.what} is damaged: {blob.key}.", advice=advice)
    if blob.adapter is not None:
        if sha256(data).digest() != blob.adapter:
            raise damaged
        return data
    try:
        load_hashed(data)
    except CorruptError:
        raise damaged from None
    return data
