"""``fedit-client doctor``."""

import click

from . import plan
from .options import MODEL, json_option, parse_size


@click.command()
@click.option("--model", type=MODEL, metavar="ID_OR_FOLDER", help="Plan the training of this model, too.")
@click.option("--memory", callback=parse_size, metavar="SIZE", help="What it may use (default: 9/10 of what is free).")
@json_option
@click.pass_context
def command(context: click.Context, model: str | None, memory: int | None, as_program: bool) -> None:
    """What this machine has, which libraries are installed, and what fits."""
    import msgspec

    from edge_client.hardware import find_hardware
    from edge_client.training.outlook import largest_model

    from .hardware import hardware_lines
    from .programs import tell

    hardware = find_hardware()
    billions = largest_model(hardware)
    if as_program:
        found = {"accelerator": hardware.accelerator, "billions_that_fit": billions}
        tell("Doctor", msgspec.to_builtins(hardware) | found)
        if model is not None:
            context.invoke(plan.command, model=model, memory=memory, as_program=True)
        return
    for line in hardware_lines(hardware):
        click.echo(line)
    for name, version in hardware.versions.items():
        click.echo(f"{name}: {version or 'not installed'}")
    if billions is None:
        click.echo("Fits: no model; free some memory.")
    else:
        click.echo(f"Fits: models of up to {billions:g} billion parameters in 8 bits, records of 512 tokens.")
    if model is None:
        click.echo("For one model: fedit-client plan --model ID_OR_FOLDER")
    else:
        context.invoke(plan.command, model=model, memory=memory)
