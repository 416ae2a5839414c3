"""How far back the operator has pruned, and the rows that go with it."""

from collections.abc import Collection
from typing import NamedTuple

from sqlalchemy import Connection, delete, insert, select

from .tables import events, orders

_VERSIONS, _ROUNDS = "pruned versions", "pruned rounds"


class Pruned(NamedTuple):
    """Up to and including these numbers, files of adapter versions and of rounds may be gone. Reports stay."""

    versions: int = 0
    rounds: int = 0


class Retention:
    """Each method works in the caller's transaction."""

    def pruned(self, connection: Connection) -> Pruned:
        """How far it went so far."""
        kept = select(orders.c.name, orders.c.value).where(orders.c.name.in_((_VERSIONS, _ROUNDS)))
        found = {row.name: row.value for row in connection.execute(kept)}
        return Pruned(found.get(_VERSIONS, 0), found.get(_ROUNDS, 0))

    def note(self, connection: Connection, pruned: Pruned) -> None:
        """It goes so far from now on; never less far than before."""
        before = self.pruned(connection)
        for name, old, new in ((_VERSIONS, before.versions, pruned.versions), (_ROUNDS, before.rounds, pruned.rounds)):
            connection.execute(delete(orders).where(orders.c.name == name))
            connection.execute(insert(orders).values(name=name, value=max(old, new)))

    def with_events(self, connection: Connection, bound: int) -> list[int]:
        """The rounds below ``bound`` whose events are here."""
        found = select(events.c.round).where(events.c.round < bound).distinct().order_by(events.c.round)
        return list(connection.execute(found).scalars())

    def drop_events(self, connection: Connection, rounds: Collection[int]) -> int:
        """Delete the events of these rounds, which are final; how many there were."""
        return sum(connection.execute(delete(events).where(events.c.round == round)).rowcount for round in rounds)
