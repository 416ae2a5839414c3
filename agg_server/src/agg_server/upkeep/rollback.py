"""Going back to an earlier adapter version, and staying after all. Each function works in the caller's transaction."""

from typing import NamedTuple

from sqlalchemy import Connection

from fedit_shared.errors import UserError

from ..rounds.events import RoundEnded, RoundOpened
from ..storage.kinds import Storage
from ..store import AdapterVersion, Journal, Retention, Versions
from .pruning import require_kept


class Line(NamedTuple):
    """``working``: the version that the newest round works on, or ended with. ``ordered``: the one that the operator
    went back to, while no round has begun from it. ``following``: the one that counts now, of the two."""

    working: int
    ordered: int | None

    @property
    def following(self) -> int:
        return self.working if self.ordered is None else self.ordered


def line(connection: Connection) -> Line:
    """How the versions go on. Raises UserError for a database without any."""
    journal, versions = Journal(), Versions()
    turning = journal.events_of_kinds(connection, journal.last_round(connection), (RoundOpened, RoundEnded))
    worked_on = [r.event.version for r in turning if isinstance(r.event, RoundOpened | RoundEnded)]
    working = worked_on[-1] if worked_on else versions.newest(connection).version
    return Line(working, versions.rollback(connection))


def require_elsewhere(connection: Connection, version: int) -> Line:
    """As :func:`line`. Raises UserError for a version that counts already: a round that has begun from it is on its
    way, and an order would throw away what it publishes."""
    now = line(connection)
    if version == now.following:
        raise UserError(
            f"Version {version} counts already: there is nothing to go back to.",
            advice="A round under way works on it, or the next one begins from it.",
        )
    return now


def go_back(connection: Connection, blobs: Storage, version: int) -> AdapterVersion:
    """Have the next round begin from ``version``. Where the newest round works on that very version, what was ordered
    is taken back instead.

    Raises UserError for a version that there is not, that counts already, or whose file was pruned.
    """
    versions = Versions()
    found = versions.get(connection, version)
    if found is None:
        newest = versions.newest(connection).version
        raise UserError(f"There is no adapter version {version}.", advice=f"There are 0 to {newest}.")
    now = require_elsewhere(connection, version)
    if version == now.working:
        versions.forget_rollback(connection)
        return found
    require_kept(blobs, found, Retention().pruned(connection))
    versions.order_rollback(connection, version)
    return found


def stay(connection: Connection) -> int:
    """Take back what was ordered; the version that counts then. Raises UserError if there is nothing to be taken back:
    a round may have begun from it meanwhile."""
    now = line(connection)
    if now.ordered is None:
        raise UserError(
            "No going back is ordered, or a round has begun from there already.",
            advice=f"Version {now.working} counts now.",
        )
    Versions().forget_rollback(connection)
    return now.working
