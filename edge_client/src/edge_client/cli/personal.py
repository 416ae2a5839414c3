"""``fedit-client personal``."""

from pathlib import Path

import click

from .options import state_option


@click.command()
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--adapter",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="Folder of a published adapter (default: the version that this device last trained from).",
)
@state_option
def command(out: Path, adapter: Path | None, state: Path | None) -> None:
    """Write this device's own adapter to the folder OUT, in PEFT's form.

    Where the federation's strategy keeps part of the adapter on each device (shared-a), the published one is of use
    only with that part in it. OUT says something about your records, as any adapter does that was trained on them: the
    federation never gets it.
    """
    from edge_client.client.personal import write_personal

    from .session import joined

    task = write_personal(joined(state), adapter, out)
    click.echo(f"{out}: this device's own adapter for {task.model.id}. It holds what was learned from your records.")
