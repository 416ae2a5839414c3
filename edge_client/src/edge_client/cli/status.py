"""``fedit-client status``."""

from pathlib import Path

import click

from .options import state_option


@click.command()
@state_option
def command(state: Path | None) -> None:
    """What this machine takes part in, and how its rounds went. Also while a client runs."""
    from edge_client.client.words import DEVICE_LETTERS, clock, size
    from edge_client.state import FederationState, state_folder
    from fedit_shared.errors import UserError

    from .session import outlook

    folder = state_folder(None, state)
    kept = FederationState(folder)
    membership, preferences = kept.membership, kept.preferences
    if membership is None:
        raise UserError(f"{folder} has joined no federation.", advice="Join one with `fedit-client join LINK`.")
    click.echo(f"Federation: {membership.name or '(unnamed)'} at {membership.address}")
    if membership.server_key is not None:
        click.echo(f"Device: {kept.identity.public.hex()[:DEVICE_LETTERS]}{', has left' if membership.left else ''}")
    if preferences is not None:
        click.echo(f"Data: {preferences.data.path}; floor: {preferences.min_survivors} devices")
    for attempt in kept.attempts:
        past = attempt.ended()
        if past is not None:
            counted = "counted" if past.counted else "not counted"
            click.echo(
                f"Round {past.round}: {past.outcome}, {counted}, {past.survivors} survivors of {past.members}, "
                f"{size(past.bytes_up)} sent, {clock(past.time)}"
            )
    click.echo(outlook(kept, leaving=membership.left))
