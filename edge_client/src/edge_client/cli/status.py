"""``fedit-client status``."""

from pathlib import Path

import click

from .options import state_option


@click.command()
@state_option
def command(state: Path | None) -> None:
    """What this machine takes part in, and how its rounds went. Also while a client runs."""
    from edge_client.client.words import DEVICE_LETTERS, clock, size

    from .session import joined, outlook, training_times

    kept = joined(state)
    membership, preferences = kept.membership, kept.preferences
    assert membership is not None, "joined"
    click.echo(f"Federation: {membership.name or '(unnamed)'} at {membership.address}")
    if membership.server_key is not None:
        click.echo(f"Device: {kept.identity.public.hex()[:DEVICE_LETTERS]}{', has left' if membership.left else ''}")
    if preferences is not None:
        click.echo(f"Data: {preferences.data.path}; floor: {preferences.min_survivors} devices")
        click.echo(training_times(preferences, kept.pause))
    for attempt in kept.attempts:
        past = attempt.ended()
        if past is not None:
            counted = "counted" if past.counted else "not counted"
            click.echo(
                f"Round {past.round}: {past.outcome}, {counted}, {past.survivors} survivors of {past.members}, "
                f"{size(past.bytes_up)} sent, {clock(past.time)}"
            )
    click.echo(outlook(kept, leaving=membership.left))
