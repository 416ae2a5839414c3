"""``fedit-client doctor``."""

import click

from . import plan
from .options import parse_size


@click.command()
@click.option("--model", metavar="ID_OR_FOLDER", help="Plan the training of this model, too.")
@click.option("--memory", callback=parse_size, metavar="SIZE", help="What it may use (default: 9/10 of what is free).")
@click.pass_context
def command(context: click.Context, model: str | None, memory: int | None) -> None:
    """What this machine has, which libraries are installed, and what fits."""
    from edge_client.hardware import find_hardware
    from edge_client.training.outlook import largest_model

    from .hardware import hardware_lines

    hardware = find_hardware()
    for line in hardware_lines(hardware):
        click.echo(line)
    for name, version in hardware.versions.items():
        click.echo(f"{name}: {version or 'not installed'}")
    billions = largest_model(hardware)
    if billions is None:
        click.echo("Fits: no model; free some memory.")
    else:
        click.echo(f"Fits: models of up to {billions:g} billion parameters in 8 bits, records of 512 tokens.")
    if model is None:
        click.echo("For one model: fedit-client plan --model ID_OR_FOLDER")
    else:
        context.invoke(plan.command, model=model, memory=memory)
