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
    from fedit_shared.errors import UserError

    _, config, database = open_folder(folder)
    if not config.server.dashboard:
        raise UserError("This server has no dashboard.", advice="Set [server] dashboard = true, and serve again.")
    click.echo(make_link(database, config.server.address, time.time()))


@click.command("logout")
@folder_argument
def logout_command(folder: Path) -> None:
    """End all sessions at the dashboard, and let no login link be good any more."""
    import time

    from agg_server.store import Operators

    _, _, database = open_folder(folder)
    with database.begin() as connection:
        count = Operators().forget_all(connection, time.time())
    click.echo(
        f"{count} {'session is' if count == 1 else 'sessions are'} over; login links that were not used are void."
    )
