"""Adapter versions: all of them, and one with its card."""

from collections.abc import Sequence
from typing import NamedTuple

from agg_server.store import AdapterVersion


class VersionLine(NamedTuple):
    """One version. ``next``: the next round begins from it; ``kept``: its file has not been pruned, as far as the
    database knows."""

    version: int
    adapter: str
    parent: int | None
    round: int | None
    created: float
    size: int
    next: bool
    kept: bool


def version_lines(versions: Sequence[AdapterVersion], following: int, pruned: int) -> list[VersionLine]:
    """Newest first. ``following``: the version that the next round begins from; up to ``pruned`` but for the first,
    files may be gone."""
    return [
        VersionLine(
            version=each.version,
            adapter=each.adapter.hex(),
            parent=each.parent,
            round=each.round,
            created=each.created,
            size=each.size,
            next=each.version == following,
            kept=each.version > pruned or each.version in (0, following),
        )
        for each in reversed(versions)
    ]
