"""What this device sent, when, and what became of it: read from the rounds that are kept, also while a client works."""

from collections.abc import Iterable

import msgspec

from fedit_shared.messages.client import Step

from .attempt import Attempt
from .records import CorruptStateError, Outcome


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One muster of this device. Times are Unix seconds, 0 where there is none (yet), or where a client older than
    these records wrote it."""

    round: int
    began: int
    """When this device mustered."""
    sent: int
    """When the server had its masked update."""
    bytes_up: int
    step: Step | None
    """The last step that is behind it; None before the server has acknowledged its muster, and once it is over."""
    outcome: Outcome | None
    """None while the round is open for this device."""
    counted: bool = False
    """Whether its update is in the published sum."""
    survivors: int = 0
    members: int = 0
    ended: int = 0
    not_after: int = 0
    """Until when it has promised answers, while it is open."""
    mean_loss: float | None = None
    adapter: bytes = b""
    """The version that was current afterwards."""
    reason: str = ""


def history(attempts: Iterable[Attempt]) -> list[Entry]:
    """An entry for each attempt that something may have been sent for, in their order."""
    return [entry for entry in map(_entry, attempts) if entry is not None]


def _entry(attempt: Attempt) -> Entry | None:
    if attempt.over:
        return _ended(attempt)
    try:
        mustered, past = attempt.mustered, attempt.past
    except CorruptStateError:
        if attempt.begun and not attempt.over:
            raise
        return _ended(attempt)  # it ended, or was forgotten, in between
    return Entry(
        round=mustered.round,
        began=mustered.time,
        sent=past.sent if past else 0,
        bytes_up=past.bytes_up if past else 0,
        step=past.step if past else None,
        outcome=None,
        not_after=mustered.not_after,
        reason=past.reason if past else "",
    )


def _ended(attempt: Attempt) -> Entry | None:
    ended = attempt.ended()
    if ended is None:
        return None
    return Entry(
        round=ended.round,
        began=ended.began,
        sent=ended.sent,
        bytes_up=ended.bytes_up,
        step=None,
        outcome=ended.outcome,
        counted=ended.counted,
        survivors=ended.survivors,
        members=ended.members,
        ended=ended.time,
        mean_loss=ended.mean_loss,
        adapter=ended.adapter,
        reason=ended.reason,
    )
