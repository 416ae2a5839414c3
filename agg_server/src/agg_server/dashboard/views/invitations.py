"""The join links that were made. The links themselves are not kept: a list has their hashes as names."""

from collections.abc import Iterable
from typing import NamedTuple

from agg_server.store import Invitation

from .words import Status, status

SHOWN = 500
TERMS = {"1d": "1 day", "7d": "7 days", "30d": "30 days", "": "until it is used up"}
"""How long a link may be good, as durations are written."""
MOST_USES = 10000


class InvitationLine(NamedTuple):
    """One invitation. ``name``: the hash of its token, in hex."""

    name: str
    status: Status
    created: float
    expires: float | None
    uses: int
    used: int
    open: bool


class InvitationsPage(NamedTuple):
    """``lines``: newest first; ``all``: so many there are."""

    lines: list[InvitationLine]
    all: int


def invitations_page(made: Iterable[Invitation], now: float) -> InvitationsPage:
    """As they stand at ``now``."""
    everything = list(made)
    lines = []
    for each in everything[:SHOWN]:
        stands = each.standing(now)
        name = each.token_hash.hex()
        lines.append(
            InvitationLine(name, status(stands), each.created, each.expires, each.uses, each.used, stands == "open")
        )
    return InvitationsPage(lines, len(everything))
