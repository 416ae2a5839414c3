"""``fedit-client new-adapter``."""

from pathlib import Path

import click

from .options import MODEL


@click.command()
@click.argument("model", type=MODEL)
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--rank", type=click.IntRange(1, 1024), default=8, show_default=True)
@click.option("--alpha", type=click.IntRange(1), help="Scale is alpha / rank (default: twice the rank).")
@click.option("--dropout", type=click.FloatRange(0, 0.9), default=0.0, show_default=True)
@click.option(
    "--target-modules", metavar="NAME,…", help="Linear layers to adapt (default: PEFT's choice for the model)."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--revision", help="The model's commit on the hub.")
def command(
    model: str,
    out: Path,
    rank: int,
    alpha: int | None,
    dropout: float,
    target_modules: str | None,
    seed: int,
    revision: str | None,
) -> None:
    """Make a new adapter for MODEL (a hub id or folder) in the folder OUT: what a federation starts with."""
    import asyncio

    from edge_client.paths import absolute
    from edge_client.training import CreateJob, create_adapter

    from .fetching import Fetched

    names = tuple(name.strip() for name in target_modules.split(",") if name.strip()) if target_modules else None
    job = CreateJob(
        model=str(absolute(model)) if Path(model).is_dir() else model,
        out=str(absolute(out)),
        revision=revision,
        rank=rank,
        alpha=alpha,
        dropout=dropout,
        target_modules=names,
        seed=seed,
    )
    fetched = Fetched(model, err=False)
    made = asyncio.run(create_adapter(job, lambda event: fetched(event.here, event.total)))
    click.echo(
        f"{made.out}: {made.parameters:,} parameters in {made.tensors} tensors on {', '.join(made.target_modules)} "
        f"of {made.model_id}{f' at {made.revision}' if made.revision else ''}."
    )
    click.echo(f"Next, on the server: fedit-server init DIR --adapter {made.out} --model {made.model_id}")
