"""``fedit-client run``."""

import sys
from pathlib import Path

import click

from .options import work_options


@click.command()
@work_options
def command(
    rounds: int | None,
    when: tuple[str, ...] | None,
    accept_new_task: bool,
    state: Path | None,
    view: str | None,
) -> None:
    """Go on with the federation that this machine has joined, with the data and settings of the last time."""
    from edge_client.client import Client

    from .session import take_part

    sys.exit(take_part(Client.open(state, when=when, accept_new_task=accept_new_task), rounds, view))
