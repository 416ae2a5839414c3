"""``fedit-server invitations``, ``revoke``."""

from pathlib import Path

import click

from .options import folder_argument, json_option, one_that_begins, open_folder


@click.command("invitations")
@folder_argument
@json_option
def invitations_command(folder: Path, as_json: bool) -> None:
    """List the join links that were made: by names of their own, since the links themselves are not kept."""
    import time

    from agg_server.store import People

    from .tables import age, print_records, print_table

    _, _, database = open_folder(folder)
    with database.begin() as connection:
        made = People().invitations(connection)
    if as_json:
        print_records(made, token_hash="invitation")
        return
    now = time.time()
    print_table(
        ("invitation", "stands", "made", "used"),
        [
            (each.token_hash.hex()[:16], each.standing(now), age(each.created), f"{each.used}/{each.uses}")
            for each in made
        ],
    )


@click.command("revoke")
@folder_argument
@click.argument("invitation")
def revoke_command(folder: Path, invitation: str) -> None:
    """Let nobody new in by a link. INVITATION: its name, or the beginning of it. Who has joined by it stays."""
    import time

    from agg_server.store import People

    _, _, database = open_folder(folder)
    people = People()
    with database.begin() as connection:
        names = [each.token_hash.hex() for each in people.invitations(connection)]
        name = one_that_begins(names, invitation, "invitations' names", "`fedit-server invitations` lists them")
        people.revoke(connection, bytes.fromhex(name), time.time())
    click.echo(f"Revoked {name}.")
