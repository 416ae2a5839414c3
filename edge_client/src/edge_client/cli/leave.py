"""``fedit-client leave``."""

import asyncio
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .options import state_option, view_options

if TYPE_CHECKING:
    from edge_client.client import Client

    from .views import View


@click.command()
@click.option("--now", is_flag=True, help="Do not first give the answers that open rounds still need of this device.")
@view_options
@state_option
def command(state: Path | None, view: str | None, now: bool) -> None:
    """Take no further rounds, and tell the server so.

    Rounds that already have this device's update may need its short answers, perhaps for hours: they are given first,
    unless --now. Stopped by Ctrl-C meanwhile, the device has not left. A server that does not answer is tried again for
    a minute.
    """
    from edge_client.client import Client

    from .session import take_part
    from .views import choose

    if not now and (status := take_part(Client.open(state), 0, view, leaving=True)):
        sys.exit(status)
    client = Client.open(state)
    with choose(view or "plain") as shown:
        asyncio.run(_leave(client, shown))
    if view != "json":
        click.echo(f"This device has left. {client.state.folder} holds its keys and may be deleted.")


async def _leave(client: "Client", shown: "View") -> None:
    async with client:
        await client.leave(shown.show)
