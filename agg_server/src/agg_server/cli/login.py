"""``fedit-server login``."""

from pathlib import Path

import click

from .options import folder_argument, open_folder


@click.command("login")
@folder_argument
def login_command(folder: Path) -> None:
    """Print a link that opens the dashboard once, within ten minutes. Whoever has it is an operator: keep it to
    yourself."""
    import time

    from agg_server.dashboard.login import make_link

    _, config, database = open_folder(folder)
    click.echo(make_link(database, config.server.address, time.time()))
