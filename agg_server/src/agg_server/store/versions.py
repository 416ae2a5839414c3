"""Adapter versions, and which one the next round begins from."""

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, delete, insert, select

from fedit_shared.errors import UserError

from .tables import adapters, orders

_ROLLBACK = "rollback"


class AdapterVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One version: the hash of its file, the version that it came from, the round that made it (None: the first)."""

    version: int
    adapter: bytes
    parent: int | None
    round: int | None
    created: float
    size: int
    clip: tuple[float, ...]
    """Clip range of each tensor in the round that begins from it, while the settings say "auto"."""


class Versions:
    """Rows about adapter versions; each method works in the caller's transaction."""

    def add(self, connection: Connection, version: AdapterVersion) -> None:
        """Store a new version."""
        values = msgspec.structs.asdict(version) | {"clip": msgspec.msgpack.encode(version.clip)}
        connection.execute(insert(adapters).values(**values))

    def all(self, connection: Connection) -> list[AdapterVersion]:
        """All versions, oldest first."""
        return [_version(row) for row in connection.execute(select(adapters).order_by(adapters.c.version))]

    def get(self, connection: Connection, version: int) -> AdapterVersion | None:
        """The version of this number."""
        row = connection.execute(select(adapters).where(adapters.c.version == version)).first()
        return None if row is None else _version(row)

    def newest(self, connection: Connection) -> AdapterVersion:
        """The version with the highest number. Raises UserError if there is none: no federation was made here."""
        row = connection.execute(select(adapters).order_by(adapters.c.version.desc()).limit(1)).first()
        if row is None:
            raise UserError(
                "The database is empty: it is not this federation's.",
                advice="Set [server] database as it was, or make a new federation: `fedit-server init --database URL`.",
            )
        return _version(row)

    def next_from(self, connection: Connection, last: int | None) -> AdapterVersion:
        """The version that the next round begins from: what a rollback ordered, else ``last``, the version that the
        last round ended with or works on; None before the first."""
        ordered = self.rollback(connection)
        wanted = last if ordered is None else ordered
        found = None if wanted is None else self.get(connection, wanted)
        return self.newest(connection) if found is None else found

    def order_rollback(self, connection: Connection, version: int) -> None:
        """Have the next round begin from this version."""
        self.forget_rollback(connection)
        connection.execute(insert(orders).values(name=_ROLLBACK, value=version))

    def rollback(self, connection: Connection) -> int | None:
        """The version that was ordered and is not yet begun from."""
        return connection.execute(select(orders.c.value).where(orders.c.name == _ROLLBACK)).scalar()

    def forget_rollback(self, connection: Connection) -> None:
        """A round has begun from the version that was ordered, or the order was taken back."""
        connection.execute(delete(orders).where(orders.c.name == _ROLLBACK))


def _version(row: Row[Any]) -> AdapterVersion:
    return AdapterVersion(
        version=row.version,
        adapter=row.adapter,
        parent=row.parent,
        round=row.round,
        created=row.created,
        size=row.size,
        clip=msgspec.msgpack.decode(row.clip, type=tuple[float, ...]),
    )
