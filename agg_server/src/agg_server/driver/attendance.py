"""Who may take part, and who was here: kept in the database, read again now and then."""

import asyncio
from contextlib import suppress
from functools import partial

from agg_server.ledger import Proposal
from agg_server.rounds.causes import BLOCKED, LEFT
from agg_server.rounds.events import Withdrawn
from agg_server.store import Database, Device, People
from agg_server.store.people import Status
from fedit_shared.errors import ConflictError

from .desk import Desk
from .writer import Writer

RENEWAL_SECONDS = 0.3
_GONE: dict[Status | None, str] = {"left": LEFT, "blocked": BLOCKED}


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
        await self._writer.call(self._read)

    async def dismiss(self) -> None:
        """As :meth:`read`; and no muster is waited for whose device may not take part any more."""
        for proposal in await self._writer.call(self._read):
            with suppress(ConflictError):  # the cohorts have just been formed, or another replica has said so
                await self._writer.submit(proposal)

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

    def _read(self) -> list[Proposal]:
        """The ends of musters that are due to it."""
        number, mustered = self._desk.mustered()  # first: who has mustered by now was let in by then
        with self._database.begin() as connection:
            statuses = self._people.statuses(connection)
        self._desk.replace({identity for identity, status in statuses.items() if status == "active"})
        return [
            Proposal(number, Withdrawn(identity=identity, reason=_GONE[status]))
            for identity in mustered
            if (status := statuses.get(identity)) in _GONE
        ]

    def _write(self, seen: list[Device]) -> None:
        with self._database.begin() as connection:
            for device in seen:
                self._people.seen(connection, device)
