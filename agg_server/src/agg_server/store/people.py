"""Devices and invitations."""

from collections.abc import Iterable
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, func, insert, null, select, update

from fedit_shared.errors import UnauthorizedError
from fedit_shared.text import shown

from .tables import devices, invitations

Status = Literal["active", "left", "blocked"]
MOST_GIB = 2**31 - 1
"""What the column can hold on every database; the protocol allows one more."""
_SHOWN = 40
_CLOSED = {
    "used up": "This invitation is used up.",
    "expired": "This invitation has expired.",
    "revoked": "This invitation was revoked.",
}
_NEW_LINK = "Ask the operator for a new join link."


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A device that has joined. Times are Unix seconds."""

    identity: bytes
    status: Status
    joined: float
    last_seen: float | None = None
    client_version: str | None = None
    accelerator: str | None = None
    memory_gib: int | None = None
    invitation: bytes = b""
    """The hash of the token by which it came in."""

    @property
    def client(self) -> str:
        """The client's version as it names itself, for people: short, and all of it to be seen."""
        line = shown(self.client_version or "", _SHOWN)
        return "".join(letter if letter.isprintable() else "�" for letter in line)


class Invitation(msgspec.Struct, frozen=True, kw_only=True):
    """A join link, without its token. ``expires``: None for never; ``revoked``: when, if it was."""

    token_hash: bytes
    created: float
    expires: float | None
    uses: int
    used: int
    revoked: float | None = None

    def standing(self, now: float) -> Literal["open", "used up", "expired", "revoked"]:
        """Whether somebody new can join by it at ``now``, or why not."""
        if self.revoked is not None:
            return "revoked"
        if self.expires is not None and self.expires < now:
            return "expired"
        return "used up" if self.used >= self.uses else "open"


class Census(msgspec.Struct, frozen=True, kw_only=True):
    """How many devices: by status, and those that checked in lately."""

    statuses: dict[Status, int]
    seen: int


class People:
    """Rows about people; each method works in the caller's transaction."""

    def invite(self, connection: Connection, made: Iterable[Invitation]) -> None:
        """Store new invitations."""
        for invitation in made:
            connection.execute(insert(invitations).values(**msgspec.structs.asdict(invitation)))

    def invitation(self, connection: Connection, token_hash: bytes) -> Invitation | None:
        """The one of this token, if it was made."""
        row = connection.execute(select(invitations).where(invitations.c.token_hash == token_hash)).first()
        return None if row is None else Invitation(**row._mapping)

    def invitations(self, connection: Connection) -> list[Invitation]:
        """All that were made, newest first."""
        rows = connection.execute(select(invitations).order_by(invitations.c.created.desc(), invitations.c.token_hash))
        return [Invitation(**row._mapping) for row in rows]

    def revoke(self, connection: Connection, token_hash: bytes, now: float) -> bool:
        """Nobody new comes in by this invitation any more; whether it is a known one. Who has joined by it stays."""
        known = invitations.c.token_hash == token_hash
        connection.execute(update(invitations).where(known, invitations.c.revoked.is_(None)).values(revoked=now))
        return connection.execute(select(invitations.c.created).where(known)).first() is not None

    def enrol(self, connection: Connection, identity: bytes, token_hash: bytes, now: float) -> bool:
        """Let a device in, at the cost of one use; whether it is new. A device that is in stays so at no cost.

        Raises UnauthorizedError for an invitation that is unknown, used up or expired, or a blocked device.
        """
        query = select(invitations).where(invitations.c.token_hash == token_hash)
        row = connection.execute(query.with_for_update()).first()  # its last use is given once, whoever else looks
        device = self.device(connection, identity)
        if device and device.status == "blocked":
            raise UnauthorizedError("This device is blocked here.", advice="Ask the operator why.")
        if row is None:
            raise UnauthorizedError("This invitation is not known here.", advice=_NEW_LINK)
        if device and device.status == "active":
            return False
        if (stands := Invitation(**row._mapping).standing(now)) != "open":
            raise UnauthorizedError(_CLOSED[stands], advice=_NEW_LINK)
        connection.execute(
            update(invitations).where(invitations.c.token_hash == token_hash).values(used=invitations.c.used + 1)
        )
        if device:
            known = devices.c.identity == identity
            connection.execute(update(devices).where(known).values(status="active", invitation=token_hash))
        else:
            values = {"identity": identity, "status": "active", "joined": now, "invitation": token_hash}
            connection.execute(insert(devices).values(**values))
        return True

    def device(self, connection: Connection, identity: bytes) -> Device | None:
        """The device, if it ever joined."""
        row = connection.execute(select(devices).where(devices.c.identity == identity)).first()
        return None if row is None else _device(row)

    def devices(self, connection: Connection) -> list[Device]:
        """All that ever joined, in the order of joining."""
        return [_device(row) for row in connection.execute(select(devices).order_by(devices.c.joined))]

    def statuses(self, connection: Connection) -> dict[bytes, Status]:
        """identity → status of all devices."""
        rows = connection.execute(select(devices.c.identity, devices.c.status))
        return {row.identity: row.status for row in rows}

    def census(self, connection: Connection, since: float) -> Census:
        """How many devices there are; ``seen``: not before Unix time ``since``."""
        counted = select(devices.c.status, func.count()).group_by(devices.c.status)
        seen = select(func.count()).select_from(devices).where(devices.c.last_seen >= since)
        return Census(
            statuses={row[0]: row[1] for row in connection.execute(counted)},
            seen=connection.execute(seen).scalar_one(),
        )

    def leave(self, connection: Connection, identity: bytes) -> None:
        """A device takes part no more. One that is blocked stays so."""
        known = devices.c.identity == identity
        connection.execute(update(devices).where(known, devices.c.status == "active").values(status="left"))

    def set_blocked(self, connection: Connection, identity: bytes, *, blocked: bool) -> None:
        """Serve a device no more; or one that is blocked again, as before: one that had left by itself needs a link."""
        known, is_blocked = devices.c.identity == identity, devices.c.status == "blocked"
        if blocked:
            change = update(devices).where(known, ~is_blocked)
            connection.execute(change.values(status="blocked", before_block=devices.c.status))
        else:
            before = func.coalesce(devices.c.before_block, "active")
            connection.execute(update(devices).where(known, is_blocked).values(status=before, before_block=null()))

    def seen(self, connection: Connection, device: Device) -> None:
        """Note what a device said of itself when it checked in."""
        values = {
            "last_seen": device.last_seen,
            "client_version": device.client_version,
            "accelerator": device.accelerator,
            "memory_gib": None if device.memory_gib is None else min(device.memory_gib, MOST_GIB),
        }
        connection.execute(update(devices).where(devices.c.identity == device.identity).values(**values))


def _device(row: Row[Any]) -> Device:
    return Device(
        identity=row.identity,
        status=row.status,
        joined=row.joined,
        last_seen=row.last_seen,
        client_version=row.client_version,
        accelerator=row.accelerator,
        memory_gib=row.memory_gib,
        invitation=row.invitation,
    )
