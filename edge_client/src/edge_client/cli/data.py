"""``fedit-client data``: what is in a file of records, before it is trained on."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from .options import DATA, MODEL, data_options, json_option

if TYPE_CHECKING:
    from fedit_shared.errors import UserError


@click.group()
def command() -> None:
    """Look at your instruction records before anything is trained on them."""


@command.command()
@click.argument("file", type=DATA)
@data_options
@click.option("--model", type=MODEL, metavar="ID|FOLDER", help="Count in its tokens and show its own template.")
@click.option("--max-length", type=click.IntRange(2), default=512, show_default=True, help="Tokens a record is cut to.")
@click.option("--record", type=click.IntRange(1), metavar="LINE", help="Show this record (default: the first).")
@click.option(
    "--show",
    is_flag=True,
    help="Show likely personal data in the clear, and unknown fields' names; put them and a record into --json.",
)
@json_option
def check(
    file: str,
    fields: dict[str, str],
    container: Literal["jsonl", "json", "csv", "parquet"] | None,
    bad_lines: Literal["refuse", "skip"] | None,
    model: str | None,
    max_length: int,
    record: int | None,
    show: bool,
    as_program: bool,
) -> None:
    """Tell what is in FILE (or hf:OWNER/NAME): how many records of which category and length, one of them as the model
    sees it, what would be cut or refused, duplicates, and what is likely personal, for your eyes only.

    Nothing is trained, stored or sent. Exit status 2: joining with this file would be refused.
    """
    from edge_client.data import DataSource, Scan, located, pin
    from edge_client.data.check import examine
    from edge_client.data.report import as_json, as_lines

    from .fetching import Fetched
    from .programs import tell

    source = DataSource(path=located(file), fields=fields, container=container or "auto")
    scan = Scan(pin(source, Fetched(file)), show=show)
    tokenizer = _tokenizer(model) if model else None
    positions = _positions(model) if model else None
    if positions is not None and positions < max_length:
        click.echo(f"The model has {positions} positions: records are cut to as many tokens.", err=True)
        max_length = positions
    report = examine(scan, tokenizer, max_length=max_length, line=record)
    if record and report.sample is None:
        raise click.UsageError(f"{file} has no record at {scan.unit} {record}: name another with --record.")
    name = Path(model).name if model else None
    if as_program:
        tell("DataCheck", as_json(scan, report, name, show=show))
    else:
        for line in as_lines(scan, report, name, show=show):
            click.echo(line)
    if not report.learnable or (report.refused and bad_lines != "skip"):
        raise _unusable(report.records, report.learnable)


def _unusable(records: int, learnable: int) -> "UserError":
    from fedit_shared.errors import UserError

    if not records:
        return UserError(
            "There is no record in it.", advice="Name another file, or say with --format and --field how to read it."
        )
    if not learnable:
        return UserError("No record has an answer within the length.", advice="Use shorter instructions.")
    return UserError(
        "Joining would refuse it.", advice="Correct what is named above, or leave it out with --bad-lines skip."
    )


def _positions(model: str) -> int | None:
    """None, too, where no configuration lies beside the tokenizer."""
    from edge_client.hub import HubError
    from edge_client.training.config_source import find_config
    from edge_client.training.failures import ModelError
    from edge_client.training.shape import read_positions

    try:
        return read_positions(find_config(model))
    except (ModelError, HubError):
        return None


def _tokenizer(model: str) -> Any:
    from transformers import logging

    from edge_client.training.tokenizer import load_tokenizer

    logging.set_verbosity_error()  # it warns of every text that is longer than the model's context
    return load_tokenizer(Path(model).expanduser() if Path(model).expanduser().is_dir() else model)
