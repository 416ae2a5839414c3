"""``fedit-client pause``."""

import time
from pathlib import Path

import click

from .options import parse_span, state_option


@click.command()
@click.option("--for", "span", callback=parse_span, metavar="SPAN", help="Like 2h or 30min (default: until `resume`).")
@state_option
def command(state: Path | None, span: int | None) -> None:
    """Get training out of the way, at once; also that of a client that is started later.

    What is begun is kept and goes on afterwards. A client that runs still gives the short answers that open rounds
    need of it; a round whose time for training ends meanwhile goes on without this machine.
    """
    from edge_client.client.words import clock
    from edge_client.state import Pause

    from .session import command_for, joined

    kept = joined(state)
    pause = Pause(until=None if span is None else int(time.time()) + span)
    kept.pause = pause
    if pause.until is None:
        click.echo(f"Training is paused until `{command_for(kept, 'resume')}`.")
    else:
        click.echo(f"Training is paused until {clock(pause.until)}, or `{command_for(kept, 'resume')}`.")
