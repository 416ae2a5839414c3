"""``fedit-client join``."""

import sys
from pathlib import Path
from typing import Literal

import click

from .options import preference_options, work_options


@click.command()
@click.argument("link")
@preference_options
@work_options
def command(
    link: str,
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
    """Join the federation that invited you with LINK, and take part in its rounds until stopped.

    The first time, on a terminal, it asks for what is not given: your records, the memory that training may use, and
    when it may train. Elsewhere it asks nothing, and --data has to be given.

    Until it is used, a link lets anybody join: with - for LINK it is asked for, and stands in no list of processes.
    On a machine that has joined already, this goes on where it was; what is not given again stays as it was.
    """
    from edge_client.client import Client
    from edge_client.data import DataSource, pin
    from edge_client.state import FederationState, state_folder
    from fedit_shared.identity import JoinLink

    from .asking import Wishes, first_run, may_agree, may_ask
    from .fetching import Fetched, described
    from .session import take_part

    parsed = JoinLink.parse(_ask_for_link() if link == "-" else link)
    known = FederationState(state_folder(parsed.federation, state)).preferences
    source = known.data if known is not None else DataSource(path="")
    source = described(source, data, fields, container, bad_lines)
    if known is None and may_ask(view):
        source, memory, when = first_run(Wishes(source, memory, when), parsed.address)
    elif not source.path:
        raise click.UsageError("Name your data with --data FILE: there is no terminal to ask on.")
    client = Client.join(
        parsed,
        data=pin(source, Fetched(source.path)),
        state=state,
        memory_bytes=memory,
        model_folder=model_path,
        min_survivors=min_survivors,
        when=when,
        accept_new_task=accept_new_task,
        ask=may_agree(view),
    )
    sys.exit(take_part(client, rounds, view))


def _ask_for_link() -> str:
    link: str = click.prompt("Join link", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    return link
