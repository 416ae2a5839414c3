"""``fedit-client merge``."""

from pathlib import Path

import click

from .options import MODEL


@click.command()
@click.argument("model", type=MODEL)
@click.argument("adapter", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.argument("out", type=click.Path(path_type=Path, file_okay=False))
@click.option("--revision", help="The model's commit on the hub.")
def command(model: str, adapter: Path, out: Path, revision: str | None) -> None:
    """Make one model of MODEL (a hub id or folder) and ADAPTER (a PEFT folder) in the new folder OUT.

    It needs no more memory than the largest weight three times over, and on disk what the model takes. OUT is loaded
    with transformers alone: AutoModelForCausalLM.from_pretrained(OUT).
    """
    import asyncio

    from edge_client.paths import absolute
    from edge_client.sizes import size
    from edge_client.training import MergeJob, merge_adapter

    from .fetching import Fetched

    fetched = Fetched(model, err=False)
    job = MergeJob(
        model=str(absolute(model)) if Path(model).is_dir() else model,
        adapter=str(absolute(adapter)),
        out=str(absolute(out)),
        revision=revision,
    )
    made = asyncio.run(merge_adapter(job, lambda event: fetched(event.here, event.total)))
    click.echo(f"{made.out}: {size(made.bytes)} of weights, {made.tensors} of them changed by the adapter.")
