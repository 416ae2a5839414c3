"""``fedit-client status``."""

from pathlib import Path

import click

from .options import json_option, state_option

SHOWN = 5
"""So many of the rounds that are over are shown; `history` has all."""


@click.command()
@json_option
@state_option
def command(state: Path | None, as_program: bool) -> None:
    """What this machine takes part in, and how its last rounds went. Also while a client runs."""
    import msgspec

    from edge_client.client.folders import agreed_task
    from edge_client.client.words import DEVICE_LETTERS, describe_entry, weighing
    from edge_client.state import history

    from .programs import tell
    from .session import command_for, joined, outlook, training_times

    kept = joined(state)
    membership, preferences = kept.membership, kept.preferences
    assert membership is not None, "joined"
    device = kept.identity.public.hex() if membership.server_key is not None else None
    entries = history(kept.attempts)
    task = None if membership.task_hash is None else agreed_task(kept)
    over = [entry for entry in entries if entry.outcome is not None]
    busy, training = kept.busy, any(update.trained() is None for update in kept.updates)
    if as_program:
        tell(
            "Status",
            {
                "federation": membership.name,
                "address": membership.address,
                "device": device,
                "left": membership.left,
                "finished": membership.finished is not None,
                "running": busy,
                "training": training,
                "folder": str(kept.folder),
                "preferences": None if preferences is None else msgspec.to_builtins(preferences),
                "max_weight": None if task is None else task.max_weight,
                "pause": None if kept.pause is None else msgspec.to_builtins(kept.pause),
                "rounds_over": len(over),
                "rounds_counted": sum(entry.counted for entry in over),
                "rounds_open": [entry.round for entry in entries if entry.outcome is None],
                "bytes_up": sum(entry.bytes_up for entry in entries),
            },
        )
        return
    click.echo(f"Federation: {membership.name or '(unnamed)'} at {membership.address}")
    if device is not None:
        click.echo(f"Device: {device[:DEVICE_LETTERS]}{', has left' if membership.left else ''}")
    if preferences is not None:
        click.echo(f"Data: {preferences.data.path}; floor: {preferences.min_survivors} devices")
        click.echo(training_times(preferences, kept))
    if task is not None:
        click.echo(f"Task: {task.model.id}, {task.strategy}. {weighing(task)}")
    if len(over) > SHOWN:
        click.echo(f"The last {SHOWN} rounds (all: `{command_for(kept, 'history')}`):")
    for entry in over[-SHOWN:]:
        click.echo(describe_entry(entry))
    if training:
        begun = "An update is being trained." if busy else "The training of an update is begun, and kept."
        click.echo(begun)
    click.echo(outlook(kept, leaving=membership.left, busy=busy))
