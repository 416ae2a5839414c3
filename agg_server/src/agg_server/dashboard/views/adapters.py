"""Adapter versions: all of them, and one with its card."""

from collections.abc import Sequence
from typing import NamedTuple

from agg_server.rounds.report import RoundReport
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


def what_becomes(version: int, working: int, last: RoundReport | None) -> str:
    """What going back to ``version`` does to the newest round, which works on ``working``, or ended with it."""
    told = "The next round begins from it, and numbers go on: no version is lost."
    if last is None or last.phase == "over":
        return told
    if version == working:
        return f"Round {last.round} works on it: that one goes on as it is, and the earlier order is taken back."
    if last.phase == "muster":
        return f"{told} Round {last.round}, in which devices still train, is abandoned, and another opened from there."
    return f"{told} Round {last.round}, whose cohorts are at work, ends first: what it publishes is kept, but not used."
