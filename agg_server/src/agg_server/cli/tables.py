"""Plain tables and times for a terminal, JSON for programs."""

import time
from collections.abc import Iterable, Sequence

import click
import msgspec

from agg_server.durations import in_words


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def print_json(told: object) -> None:
    """Whatever msgspec can encode, indented."""
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=1).decode())


def print_records(records: Iterable[msgspec.Struct], **names: str) -> None:
    """The records as JSON; ``names``: their fields of bytes, and as what each stands there in hex."""
    rows = [msgspec.structs.asdict(record) for record in records]
    for row in rows:
        row |= {name: row.pop(key).hex() for key, name in names.items()}
    print_json(rows)


def age(time_then: float | None) -> str:
    """How long ago, or ``never``."""
    return "never" if time_then is None else f"{in_words(max(0.0, time.time() - time_then))} ago"
