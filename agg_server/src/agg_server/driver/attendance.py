"""Who may take part, and who was here: kept in the database, read again now and then."""

import asyncio
from functools import partial

from agg_server.store import Database, Device, People

from .desk import Desk
from .writer import Writer

RENEWAL_SECONDS = 0.3


class Attendance:
    """Devices in the database and at the desk."""

    def __init__(self, database: Database, desk: Desk, writer: Writer) -> None:
        self._database = database
        self._desk = desk
        self._writer = writer
        self._people = People()
        self._seen: dict[bytes, Device] = {}
        self._renewal: asyncio.Task[None] | None = None

    def note(self, device: Device) -> None:
        """A device checked in; written by the next :meth:`write`."""
        self._seen[device.identity] = device

    async def write(self) -> None:
        """Store what was noted."""
        seen, self._seen = list(self._seen.values()), {}
        if seen:
            await self._writer.call(partial(self._write, seen))

    async def read(self) -> None:
        """Another process may have blocked devices, or let some in."""

        def read() -> None:
            with self._database.begin() as connection:
                statuses = self._people.statuses(connection)
            self._desk.replace({identity for identity, status in statuses.items() if status == "active"})

        await self._writer.call(read)

    async def renew(self) -> None:
        """Who has just joined by another replica is known when this returns. Strangers cannot make this cost more than
        a few reads a second: all who ask wait for the same one."""
        if self._renewal is None:
            self._renewal = asyncio.create_task(self._read_soon())
        await asyncio.shield(self._renewal)

    async def _read_soon(self) -> None:
        await asyncio.sleep(RENEWAL_SECONDS)
        self._renewal = None  # who asks from now on needs a later one
        await self.read()

    def _write(self, seen: list[Device]) -> None:
        with self._database.begin() as connection:
            for device in seen:
                self._people.seen(connection, device)
