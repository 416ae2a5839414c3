"""``fedit-client join``."""

import sys
from pathlib import Path

import click

from .options import parse_size, work_options


@click.command()
@click.argument("link")
@click.option("--data", type=click.Path(path_type=Path), help="Your instruction records, JSON lines. They stay here.")
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
    data: Path | None,
    memory: int | None,
    model_path: Path | None,
    min_survivors: int | None,
    rounds: int | None,
    accept_new_task: bool,
    state: Path | None,
    view: str | None,
) -> None:
    """Join the federation that invited you with LINK, and take part in its rounds until stopped.

    On a machine that has joined already, this goes on where it was; what is not given again stays as it was.
    """
    from edge_client.client import Client
    from edge_client.state import FederationState, state_folder
    from fedit_shared.identity import JoinLink

    from .session import take_part

    parsed = JoinLink.parse(link)
    known = FederationState(state_folder(parsed.federation, state)).preferences
    if data is None and known is None:
        data = _ask_for_data()
    client = Client.join(
        parsed,
        data=data,
        state=state,
        memory_bytes=memory,
        model_folder=model_path,
        min_survivors=min_survivors,
        accept_new_task=accept_new_task,
    )
    sys.exit(take_part(client, rounds, view))


def _ask_for_data() -> Path:
    if not sys.stdin.isatty():
        raise click.UsageError("Name your data with --data FILE (JSON lines): there is no terminal to ask on.")
    answer = click.prompt("Your instruction records (a file of JSON lines; it stays on this machine)", type=Path)
    assert isinstance(answer, Path)
    return answer
