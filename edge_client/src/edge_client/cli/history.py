"""``fedit-client history``."""

from pathlib import Path

import click

from .options import json_option, state_option

TIMES = ("began", "sent", "ended", "not_after")
"""Null for programs where there is none."""


@click.command()
@click.option("--last", type=click.IntRange(1), metavar="N", help="Only the last N rounds.")
@json_option
@state_option
def command(state: Path | None, last: int | None, as_program: bool) -> None:
    """What this device sent, when, how many bytes, and which rounds counted. Also while a client runs.

    The oldest comes first; the last thousand are kept. A round in which nothing but the wish to take part was sent is
    not among them.
    """
    import msgspec

    from edge_client.client.words import describe_entry
    from edge_client.sizes import size
    from edge_client.state import history

    from .programs import tell
    from .session import joined

    entries = history(joined(state).attempts)
    told = entries if last is None else entries[-last:]
    if as_program:
        for entry in told:
            fields = msgspec.structs.asdict(entry)
            tell("Round", fields | {name: fields[name] or None for name in TIMES})
        return
    for entry in told:
        click.echo(describe_entry(entry))
    over = [entry for entry in entries if entry.outcome is not None]
    click.echo(
        f"Rounds over: {len(over)}, with this device's update: {sum(entry.counted for entry in over)}; "
        f"sent {size(sum(entry.bytes_up for entry in entries))} in all."
    )
