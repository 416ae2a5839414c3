"""The devices that have joined."""

from collections.abc import Iterable
from typing import NamedTuple

from agg_server.store import Device

from .words import Status, status

SHOWN = 500
"""So many of the devices are listed; the others are found by the beginning of their key."""


class DeviceLine(NamedTuple):
    """One device. ``link``: the name of the invitation that let it in; ``hardware`` is what it said of itself;
    ``blocked``: it may be let in again, else blocked."""

    key: str
    status: Status
    joined: float
    link: str
    last_seen: float | None
    client: str
    hardware: str
    blocked: bool


class DevicesPage(NamedTuple):
    """``lines``: seen last, first; ``all``: so many there are, ``found``: so many begin with what was looked for."""

    lines: list[DeviceLine]
    all: int
    found: int


def line(device: Device) -> DeviceLine:
    """One device's line."""
    memory = "" if device.memory_gib is None else f"{device.memory_gib} GiB"
    return DeviceLine(
        key=device.identity.hex(),
        status=status(device.status),
        joined=device.joined,
        link=device.invitation.hex(),
        last_seen=device.last_seen,
        client=device.client or "–",
        hardware=", ".join(part for part in (device.accelerator or "", memory) if part) or "–",
        blocked=device.status == "blocked",
    )


def devices_page(devices: Iterable[Device], begins: str) -> DevicesPage:
    """The devices whose key begins so, or the name of the invitation that let them in."""
    everybody = list(devices)
    found = [d for d in everybody if d.identity.hex().startswith(begins) or d.invitation.hex().startswith(begins)]
    found.sort(key=lambda device: (-(device.last_seen or device.joined), device.identity))
    return DevicesPage([line(device) for device in found[:SHOWN]], len(everybody), len(found))
