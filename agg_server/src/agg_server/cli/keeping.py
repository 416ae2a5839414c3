"""``fedit-server backup``, ``restore``, ``verify`` and ``prune``."""

import os
from pathlib import Path

import click

from .options import folder_argument, open_folder


@click.command("backup")
@folder_argument
@click.argument("out", type=click.Path(path_type=Path))
def backup_command(folder: Path, out: Path) -> None:
    """Write everything that the federation in DIR needs into the new folder OUT, also while it is served.

    The keys are in it: keep it as safe as DIR. Uploads of a round that is open are not.
    """
    from agg_server.upkeep.backup import back_up
    from fedit_shared.errors import FeditError

    os.umask(0o077)  # keys, devices and updates are nobody else's
    layout, config, _ = open_folder(folder)
    made = back_up(layout, config, out)
    size = sum(file.size for file in made.files.values())
    click.echo(f"{out}: {len(made.files)} files, {size / 1e6:.1f} MB.")
    for path in made.elsewhere:
        click.echo(f"Note: {path} lies outside of {folder}, and is not in the backup.", err=True)
    for line in made.damaged:
        click.echo(line, err=True)
    if made.damaged:
        raise FeditError(
            f"{len(made.damaged)} files are not in this backup: they are damaged or missing.",
            advice=f"Everything else is. `fedit-server verify {folder}` says more.",
        )


@click.command("restore")
@click.argument("backup", type=click.Path(path_type=Path))
@folder_argument
@click.option("--database", metavar="URL", help="Another database than the settings name: an empty one.")
@click.option("--blobs", metavar="WHERE", help="Another folder, or s3://BUCKET/PREFIX, than they name: an empty one.")
def restore_command(backup: Path, folder: Path, database: str | None, blobs: str | None) -> None:
    """Put a BACKUP back into the new folder DIR. The round that was open then is given up.

    Make sure that the server that it was taken of serves no more.
    """
    import time

    from agg_server.upkeep.restore import restore

    os.umask(0o077)  # as above
    done = restore(backup, folder, database, blobs)
    moment = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(done.manifest.created))
    click.echo(f"{folder} is as it was at {moment}.")
    for number in done.given_up:
        click.echo(f"Round {number} was open then, and is given up.")
    if done.after is not None:
        click.echo(f"The next round has a number above {done.after}: the ones before may have been given since.")
    click.echo("What was blocked or invited since is forgotten: block again, invite again.")
    click.echo(f"Next: fedit-server verify {folder}, then fedit-server serve {folder}")


@click.command("verify")
@folder_argument
def verify_command(folder: Path) -> None:
    """Check all that the federation in DIR keeps, also while it is served; name what is damaged and what to do."""
    from agg_server.upkeep.integrity import examine
    from fedit_shared.errors import FeditError

    found = examine(*open_folder(folder))
    for line in found.damage:
        click.echo(line)
    if found.damage:
        raise FeditError(f"{len(found.damage)} things are not as they were written.")
    counts = f"{found.rounds} rounds, {found.results} signed results, {found.blobs} blobs, {found.uploads} uploads"
    click.echo(f"Keys, database, {counts}: all whole.")


@click.command("prune")
@folder_argument
@click.option("--keep-versions", required=True, type=click.IntRange(1), help="So many of the newest stay.")
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
def prune_command(folder: Path, keep_versions: int, dry_run: bool) -> None:
    """Delete the files of old adapter versions, and the sums and events of the rounds before them. Reports stay."""
    from agg_server.upkeep.pruning import prune

    layout, config, database = open_folder(folder)
    plan = prune(layout, config, database, keep_versions, really=not dry_run)
    gone = "would go" if dry_run else "are gone"
    named = ", ".join(str(version.version) for version in plan.versions) or "none"
    click.echo(f"Files of these adapter versions {gone}: {named}.")
    click.echo(f"Events of {len(plan.rounds)} rounds and {len(plan.sums)} sums {gone}.")
