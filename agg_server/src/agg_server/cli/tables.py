"""Plain tables and times for a terminal."""

import time
from collections.abc import Sequence

import click

from agg_server.durations import in_words


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def age(time_then: float | None) -> str:
    """How long ago, or ``never``."""
    return "never" if time_then is None else f"{in_words(max(0.0, time.time() - time_then))} ago"
