"""``fedit-server rollback`` and ``export``."""

from pathlib import Path

import click

from .options import folder_argument, open_folder


@click.command("rollback")
@folder_argument
@click.argument("version", type=click.IntRange(0), required=False)
@click.option("--cancel", is_flag=True, help="Stay after all, while no round has begun from there.")
def rollback_command(folder: Path, version: int | None, cancel: bool) -> None:
    """Have the next round begin from an earlier adapter VERSION. Later versions are kept."""
    from agg_server.config import GO_ON
    from agg_server.overview import standing_of
    from agg_server.upkeep import rollback

    if cancel == (version is not None):
        raise click.UsageError("Give a VERSION, or --cancel.")
    layout, config, database = open_folder(folder)
    if version is None:
        with database.alone() as connection:
            stays = rollback.stay(connection)
        click.echo(f"Nothing is gone back to: version {stays} counts.")
        return
    with database.alone() as connection:
        found = rollback.go_back(connection, layout.blobs(config), version)
    click.echo(f"The next round begins from version {version} ({found.adapter.hex()[:16]}…).")
    if standing_of(layout, config, database).finished:
        click.echo(f"But none will be opened. {config.federation.finish} {GO_ON}")


@click.command("export")
@folder_argument
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--version",
    type=click.IntRange(0),
    help="Default: what the next round begins from: the newest, or what a rollback named.",
)
@click.option(
    "--results",
    "results_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="What `fedit-client evaluate --json` wrote: into the model card.",
)
@click.option("--data-license", metavar="NAME", help="Of the training data, into the model card: cc-by-sa-3.0 …")
def export_command(
    folder: Path, out: Path, version: int | None, results_file: Path | None, data_license: str | None
) -> None:
    """Write an adapter version as a PEFT folder OUT, for PeftModel.from_pretrained, with a model card, README.md."""
    from agg_server.adapters.card import lineage, write_card
    from agg_server.adapters.export import export
    from agg_server.adapters.results import read_results
    from agg_server.overview import all_rounds, standing_of
    from agg_server.store import Retention, Versions
    from agg_server.task import make_task
    from agg_server.upkeep.pruning import require_kept
    from fedit_shared.errors import UserError

    layout, config, database = open_folder(folder)
    newest, chosen, _ = standing_of(layout, config, database)
    if version is not None:
        with database.begin() as connection:
            found = Versions().get(connection, version)
        if found is None:
            raise UserError(f"There is no adapter version {version}.", advice=f"There are 0 to {newest.version}.")
        chosen = found
    results = None if results_file is None else read_results(results_file)
    task = make_task(config, layout.adapter)
    with database.begin() as connection:
        versions = Versions().all(connection)
        require_kept(layout.blobs(config), chosen, Retention().pruned(connection))
    story = lineage(versions, all_rounds(layout, config, database), chosen)
    card = write_card(story, task, config, results, data_license)
    export(layout.blobs(config), task.adapter_config, chosen.adapter, out, card)
    click.echo(f"Adapter version {chosen.version} is in {out}.")
    if version is None and chosen.version != newest.version:
        click.echo(f"It is the one that you went back to; --version {newest.version} writes the newest.")
