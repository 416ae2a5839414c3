"""``fedit-client leave``."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import state_option, view_options

if TYPE_CHECKING:
    from edge_client.client import Client


@click.command()
@click.option("--now", is_flag=True, help="Do not wait for rounds that still need this device's answers.")
@view_options
@state_option
def command(state: Path | None, view: str | None, now: bool) -> None:
    """Tell the server that this device takes no further rounds.

    Rounds that already have this device's update may still need its short answers: they are given first, unless --now.
    """
    import asyncio

    from edge_client.client import Client

    from .session import take_part

    client = Client.open(state)
    asyncio.run(_leave(client))
    status = 0 if now else take_part(Client.open(state), None, view)
    if view != "json":
        click.echo(f"This device has left. {client.state.folder} holds its keys and may be deleted.")
    sys.exit(status)


async def _leave(client: "Client") -> None:
    async with client:
        await client.leave()
