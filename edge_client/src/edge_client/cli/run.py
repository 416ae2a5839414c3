"""``fedit-client run``."""

import sys
from pathlib import Path
from typing import Literal

import click

from .options import preference_options, work_options


@click.command()
@preference_options
@work_options
def command(
    data: str | None,
    fields: dict[str, str],
    container: Literal["jsonl", "json", "csv", "parquet"] | None,
    bad_lines: Literal["refuse", "skip"] | None,
    memory: int | None,
    model_path: Path | None,
    min_survivors: int | None,
    rounds: int | None,
    when: tuple[str, ...] | None,
    accept_new_task: bool,
    state: Path | None,
    view: str | None,
) -> None:
    """Go on with the federation that this machine has joined, with the data and settings of the last time.

    What is given here replaces them, and stays until something else is given.
    """
    from edge_client.client import Client
    from edge_client.data import DataSource, pin

    from .asking import may_agree
    from .fetching import Fetched, described
    from .session import joined, take_part

    known = joined(state).preferences
    before = known.data if known is not None else DataSource(path="")
    source = described(before, data, fields, container, bad_lines)
    client = Client.open(
        state,
        data=None if source == before or not source.path else pin(source, Fetched(source.path)),
        memory_bytes=memory,
        model_folder=model_path,
        min_survivors=min_survivors,
        when=when,
        accept_new_task=accept_new_task,
        ask=may_agree(view),
    )
    sys.exit(take_part(client, rounds, view))
