"""``fedit-server init``."""

import os
from pathlib import Path

import click

from .options import folder_argument

_EXISTING = click.Path(path_type=Path)


@click.command("init")
@folder_argument
@click.option("--adapter", required=True, type=_EXISTING, help="The start adapter: a PEFT folder (LoRA).")
@click.option("--model", metavar="HF_ID", help="The base model. Default: what the adapter's folder says.")
@click.option("--name", help="The federation's name.")
@click.option("--address", metavar="URL", help="How participants reach this server. Default: https://localhost:PORT.")
@click.option("--listen", metavar="HOST:PORT", default="0.0.0.0:8443", show_default=True)
@click.option("--cohort-min", default=3, show_default=True, help="Fewest devices that a cohort is formed of.")
@click.option("--cohort-target", default=0, help="So many devices close the muster at once; 0: only time does.")
@click.option("--rounds", default=0, help="Adapter versions to publish; 0: no end.")
@click.option("--certificate", type=_EXISTING, help="A TLS certificate (PEM). Default: a self-signed one is made.")
@click.option("--key", type=_EXISTING, help="Its private key (PEM).")
@click.option("--database", metavar="URL", default="", help="postgresql://…, an empty one. Default: SQLite in DIR.")
@click.option("--blobs", metavar="WHERE", default="", help="A folder, or s3://BUCKET/PREFIX. Default: DIR/blobs.")
def init_command(
    folder: Path,
    adapter: Path,
    model: str | None,
    name: str | None,
    address: str | None,
    listen: str,
    cohort_min: int,
    cohort_target: int,
    rounds: int,
    certificate: Path | None,
    key: Path | None,
    database: str,
    blobs: str,
) -> None:
    """Make a federation's folder DIR: settings, keys, certificate, database. More settings are in its TOML file."""
    from agg_server.initialise import Wishes, initialise
    from fedit_shared.identity import federation_id

    os.umask(0o077)  # keys, devices and updates are nobody else's
    wishes = Wishes(
        adapter, model, name, address, listen, cohort_min, cohort_target, rounds, certificate, key, database, blobs
    )
    made = initialise(folder, wishes)
    click.echo(f"Made {made.config.federation.name!r} in {folder}.")
    click.echo(f"  base model   {made.config.model.id}")
    click.echo(f"  adapter      {made.parameters:,} parameters, version 0")
    click.echo(f"  address      {made.config.server.address}")
    click.echo(f"  federation   {federation_id(made.federation_key).hex()}")
    click.echo(f"  settings     {folder / 'federation.toml'}")
    for note in made.notes:
        click.echo(f"Note: {note}", err=True)
    click.echo(f"Next: fedit-server serve {folder}, and in another terminal: fedit-server invite {folder}")
