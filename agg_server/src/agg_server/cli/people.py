"""``fedit-server invite``, ``devices``, ``block``, ``unblock``."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import folder_argument, json_option, one_that_begins, open_folder

if TYPE_CHECKING:
    from agg_server.store import Device


@click.command("invite")
@folder_argument
@click.option("--count", default=1, show_default=True, type=click.IntRange(1, 10000), help="Links to make.")
@click.option("--uses", default=1, show_default=True, type=click.IntRange(1), help="Devices that each link lets in.")
@click.option("--expires", metavar="7d", help="How long the links are good. Default: until used up.")
def invite_command(folder: Path, count: int, uses: int, expires: str | None) -> None:
    """Print join links, one a line. Whoever has one can join: send each over a private channel."""
    import os
    import time

    from agg_server.durations import Seconds
    from agg_server.enrolment import invite
    from agg_server.store import People
    from fedit_shared.errors import UserError
    from fedit_shared.identity.links import TOKEN_SIZE

    layout, config, database = open_folder(folder)
    now = time.time()
    try:
        until = None if expires is None else now + Seconds.parse(expires)
    except ValueError as error:
        raise UserError(f"--expires: {error}.") from error
    tokens = [os.urandom(TOKEN_SIZE) for _ in range(count)]
    made = invite(layout, config, tokens, uses=uses, expires=until, now=now)
    with database.begin() as connection:
        People().invite(connection, [invitation for _, invitation in made])
    for link, _ in made:
        click.echo(str(link))
    click.echo(
        "Each is for the command `fedit-client join`, not for the browser: that does not check the pinned key, and "
        "whoever goes on past its warning may show the link to somebody in between.",
        err=True,
    )


@click.command("devices")
@folder_argument
@json_option
def devices_command(folder: Path, as_json: bool) -> None:
    """List the devices that have joined."""
    from agg_server.store import People

    from .tables import age, print_records, print_table

    _, _, database = open_folder(folder)
    with database.begin() as connection:
        devices = People().devices(connection)
    if as_json:
        print_records(devices, identity="device", invitation="invitation")
        return
    print_table(
        ("device", "status", "joined", "invitation", "last seen", "client", "hardware"),
        [
            (
                device.identity.hex()[:16],
                device.status,
                age(device.joined),
                device.invitation.hex()[:16],
                age(device.last_seen),
                device.client,
                f"{device.accelerator}, {device.memory_gib} GiB" if device.accelerator else "",
            )
            for device in devices
        ],
    )


@click.command("block")
@folder_argument
@click.argument("device")
def block_command(folder: Path, device: str) -> None:
    """Serve a device no more, at once. DEVICE: its public key in hex, or the beginning of it."""
    click.echo(f"Blocked {_change(folder, device, blocked=True).identity.hex()}.")


@click.command("unblock")
@folder_argument
@click.argument("device")
def unblock_command(folder: Path, device: str) -> None:
    """Serve a blocked device again. DEVICE: its public key in hex, or the beginning of it."""
    found = _change(folder, device, blocked=False)
    told = " It had left by itself: it needs a new link." if found.status == "left" else ""
    click.echo(f"Served again: {found.identity.hex()}.{told}")


def _change(folder: Path, device: str, *, blocked: bool) -> "Device":
    """Block or let in the one device whose key begins so; how it is then."""
    from agg_server.store import People

    _, _, database = open_folder(folder)
    people = People()
    with database.begin() as connection:
        keys = [known.identity.hex() for known in people.devices(connection)]
        key = one_that_begins(keys, device, "devices' keys", "`fedit-server devices` lists them")
        people.set_blocked(connection, bytes.fromhex(key), blocked=blocked)
        [found] = [known for known in people.devices(connection) if known.identity.hex() == key]
    return found
