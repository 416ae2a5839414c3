"""``fedit-client resume``."""

from pathlib import Path

import click

from .options import state_option


@click.command()
@state_option
def command(state: Path | None) -> None:
    """Let training run again after `pause`, as far as --when allows."""
    from .session import joined

    kept = joined(state)
    kept.pause = None
    preferences = kept.preferences
    words = ", ".join(preferences.when) if preferences and preferences.when else "always"
    click.echo(f"Training may run: {words}.")
