"""Where a federation stands: its versions, the one that counts now, and whether it has finished."""

from typing import NamedTuple

from sqlalchemy import Connection

from .config import Federation
from .rounds.state import Phase, Round
from .store import AdapterVersion, Versions


class Standing(NamedTuple):
    """``newest`` has the highest number. ``current`` is what the next round begins from: the newest, unless the
    operator went back. ``finished``: no round is open, and none will be."""

    newest: AdapterVersion
    current: AdapterVersion
    finished: bool


def standing(connection: Connection, federation: Federation, last: Round | None) -> Standing:
    """How it stands after, or in, its last round."""
    versions = Versions()
    newest = versions.newest(connection)
    over = last is None or last.phase is Phase.OVER
    return Standing(
        newest=newest,
        current=versions.next_from(connection, None if last is None else last.version),
        finished=over and federation.finished(newest.version),
    )
