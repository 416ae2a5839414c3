"""``fedit-client join``."""

import sys
from pathlib import Path
from typing import Literal

import click

from .options import DATA, data_options, parse_size, work_options


@click.command()
@click.argument("link")
@click.option(
    "--data",
    type=DATA,
    metavar="FILE|hf:OWNER/NAME",
    help="Your instruction records: JSON lines, JSON, CSV or Parquet, or a data set of the Hugging Face hub "
    "(hf:OWNER/NAME[@REVISION][:FILES]). They stay here.",
)
@data_options
@click.option(
    "--memory",
    callback=parse_size,
    metavar="SIZE",
    help="What training may use, like 6GiB (default: nine tenths of what is free).",
)
@click.option(
    "--model-path",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder with the base model's files, instead of downloading them.",
)
@click.option(
    "--min-survivors",
    type=click.IntRange(3, 255),
    metavar="N",
    help="Stay out of sums of fewer than N devices (default: 3).",
)
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
    from msgspec.structs import replace

    from edge_client.client import Client
    from edge_client.data import DataSource, located, pin
    from edge_client.state import FederationState, state_folder
    from fedit_shared.identity import JoinLink

    from .asking import Wishes, first_run, may_ask
    from .fetching import Fetched
    from .session import take_part

    parsed = JoinLink.parse(_ask_for_link() if link == "-" else link)
    known = FederationState(state_folder(parsed.federation, state)).preferences
    source = known.data if known is not None else DataSource(path="")
    if data is not None:
        source = replace(source, path=located(data), container="auto")
    source = replace(
        source,
        fields=fields or source.fields,
        bad=bad_lines or source.bad,
        container=container or source.container,
    )
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
    )
    sys.exit(take_part(client, rounds, view))


def _ask_for_link() -> str:
    link: str = click.prompt("Join link", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline().strip()
    return link
