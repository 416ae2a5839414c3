"""``fedit-client plan``."""

import click

from .options import MODEL, json_option, parse_size


@click.command()
@click.option(
    "--model", type=MODEL, required=True, metavar="ID_OR_FOLDER", help="A hub id, or a folder with config.json."
)
@click.option("--revision", help="The model's commit on the hub.")
@click.option(
    "--memory",
    callback=parse_size,
    metavar="SIZE",
    help="What training may use, like 6GiB (default: nine tenths of what is free).",
)
@click.option("--rank", type=click.IntRange(1, 1024), default=8, show_default=True)
@click.option("--target-modules", metavar="NAME,…", help="Linear layers to adapt (default: those of attention).")
@click.option("--max-length", type=click.IntRange(8, 2**20), default=512, show_default=True, help="Tokens of a record.")
@click.option("--batch-size", type=click.IntRange(1, 65536), default=16, show_default=True, help="Records a step.")
@click.option("--allow-4-bit", is_flag=True, help="Plan for a federation that allows 4 bits (nf4), too.")
@click.option("--device", type=click.Choice(["auto", "cpu", "cuda"]), default="auto", show_default=True)
@json_option
def command(
    model: str,
    revision: str | None,
    memory: int | None,
    rank: int,
    target_modules: str | None,
    max_length: int,
    batch_size: int,
    allow_4_bit: bool,
    device: str,
    as_program: bool,
) -> None:
    """What training MODEL would need, line by line, and how it would be done within SIZE.

    Nothing but the model's config.json is read or fetched.
    """
    from edge_client.hardware import find_hardware
    from edge_client.training.config_source import find_config
    from edge_client.training.outlook import FREE_SHARE, expected_work, free_memory, usual_adapter
    from edge_client.training.planner import alternatives, describe, make_plan
    from edge_client.training.shape import read_positions, read_shape
    from edge_client.training.sizes import gib
    from fedit_shared.errors import UserError

    from .programs import tell

    config = find_config(model, revision)
    shape = read_shape(config)
    length = min(max_length, read_positions(config) or max_length)
    targets = [name.strip() for name in target_modules.split(",") if name.strip()] if target_modules else None
    adapter = usual_adapter(shape, rank, targets)
    if not adapter.parameters:
        names = ", ".join(matrix.name for matrix in shape.matrices)
        raise UserError("No such linear layers in this model.", advice=f"It has: {names}.")
    hardware = find_hardware()
    cuda = device == "cuda" or (device == "auto" and hardware.accelerator == "cuda")
    if cuda and not memory and not hardware.gpus:
        raise UserError(
            "No NVIDIA card is found here, so there is no memory to plan with.",
            advice="Say what to plan for, as in --memory 8GiB; on a machine with a card, see `fedit-client doctor`.",
        )
    budget = memory or int(FREE_SHARE * free_memory(hardware, cuda=cuda))
    work = expected_work(shape, adapter, cuda=cuda, bfloat16=hardware.multiplies_bfloat16(cuda=cuda), length=length)
    plan = make_plan(work, budget, ("int8", "nf4") if allow_4_bit else ("int8",), batch_size)
    if as_program:
        options = {
            name: option
            and {
                "way": option.way,
                "budget_bytes": option.budget,
                "peak_bytes": option.peak,
                "speed": round(option.speed, 2),
            }
            for name, option in (("smaller", plan.smaller), ("larger", plan.larger))
        }
        answer = {
            "model": model,
            "device": "cuda" if cuda else "cpu",
            "max_length": length,
            "budget_bytes": budget,
            "peak_bytes": plan.peak,
            "way": plan.way,
            "reason": plan.reason,
            "table": [line._asdict() for line in plan.lines],
            "guesses": shape.guesses,
            **options,
        }
        tell("Plan", answer)
        return
    for line in plan.lines:
        click.echo(f"{line.bytes:>16,}  {line.what}")
    click.echo(f"{plan.peak:>16,}  peak: {gib(plan.peak)} of {gib(budget)}")
    click.echo(f"Plan: {describe(work, plan.way)}.")
    click.echo(f"Why: {plan.reason}. A step stays {batch_size} records.")
    for alternative in alternatives(work, plan):
        click.echo(alternative)
    if length < max_length:
        click.echo(f"Cut: records to {length} tokens, since the model has no more positions.")
    for guess in shape.guesses:
        click.echo(f"Guessed: {guess}")
