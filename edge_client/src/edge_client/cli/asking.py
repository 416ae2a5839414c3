"""What the first run asks on a terminal, each question with why it is asked and what Enter means."""

import shutil
import sys
from typing import TYPE_CHECKING, NamedTuple

import click

from edge_client.data import BadLine, DataSource, Scan, located, pin
from fedit_shared.errors import LONGEST, UserError
from fedit_shared.text import shown

from .fetching import Fetched
from .options import parse_conditions, parse_size

if TYPE_CHECKING:
    from edge_client.rounds import UnagreedError

_PARTS = (
    ("instruction", "what is asked", True),
    ("response", "the answer, which is learned", True),
    ("context", "what the question is about, if anything", False),
)


class Wishes(NamedTuple):
    """How this machine is to take part; None: as if nothing had been said."""

    source: DataSource
    memory: int | None
    when: tuple[str, ...] | None


def may_ask(view: str | None) -> bool:
    """Whether somebody sits at a terminal, and no program reads what is said."""
    return view != "json" and sys.stdin.isatty() and sys.stdout.isatty()


def may_agree(view: str | None) -> bool:
    """Whether somebody sits before a live view, to be asked whether to take part in a task."""
    return view is None and may_ask(view)


def asked_to_agree(error: "UnagreedError") -> bool:
    """Show the task that ``error`` is of, and ask whether to take part. One that has changed takes more than Enter."""
    from edge_client.client import agreement, describe
    from edge_client.rounds import TaskChangedError
    from fedit_shared.messages import decode_task

    changed = isinstance(error, TaskChangedError)
    click.echo()
    if changed:
        _tell(error.message)
    _tell(describe(agreement(decode_task(error.task))))
    return click.confirm("Take part?", default=not changed)


def first_run(wishes: Wishes, address: str) -> Wishes:
    """``wishes`` with what is missing in them asked for. Raises UserError for a data file that was named already and
    cannot be used."""
    _tell(
        f"Joining the federation at {address}: this machine will train on your records, which never leave it, and send "
        "the masked change of an adapter. Before that you see exactly what leaves it. Some questions first: Enter "
        "takes what stands in brackets, Ctrl-C stops. Nothing was sent yet."
    )
    source = _mapped(wishes.source) if wishes.source.path else _ask_source(wishes.source)
    memory = wishes.memory if wishes.memory is not None else _ask_memory()
    return Wishes(source, memory, wishes.when if wishes.when is not None else _ask_when())


def _ask_source(empty: DataSource) -> DataSource:
    from msgspec.structs import replace

    _why("What is trained on: a file of instruction records (JSON lines, JSON, CSV, Parquet), or hf:OWNER/NAME.")
    while True:
        answer = click.prompt("Your records").strip()
        try:
            source = _usable(_mapped(replace(empty, path=located(answer))))
        except UserError as error:
            _tell(f"{error.message} {error.next_step}")
            continue
        if source is not None:
            return source


def _mapped(source: DataSource) -> DataSource:
    """``source``, and which of its fields is which, where that cannot be seen."""
    from msgspec.structs import replace

    source = pin(source, Fetched(source.path))
    names = Scan(source).unknown_fields()
    if not names or source.fields:
        return source
    _tell(f"Its records have the fields {', '.join(map(repr, names))}.")
    _why("What a record is made of has to be known. Context is not there in every file.")
    fields = {}
    for part, meaning, required in _PARTS:
        choice = click.Choice(names if required else [*names, ""])
        default = None if required else ""
        question = f"Which holds the {part} ({meaning})"
        theirs = click.prompt(question, type=choice, default=default, show_default=False, show_choices=False)
        if theirs:
            fields[part] = theirs
    return replace(source, fields=fields)


def _usable(source: DataSource) -> DataSource | None:
    """``source`` as it can be trained on; None if its owner wants to name another one."""
    from msgspec.structs import replace

    scan = Scan(source)
    count, bad = 0, []
    for found in scan:
        if isinstance(found, BadLine):
            bad.append(found)
        else:
            count += 1
    if not count:
        raise UserError("There is no record in it.", advice=f"First is {bad[0]}." if bad else "It is empty.")
    click.echo(f"It holds {count} record{'' if count == 1 else 's'}.")
    if not bad or source.bad == "skip":
        return source
    _why(f"{len(bad)} more are none, first {bad[0]}. A file with such lines is refused unless they are left out.")
    return replace(source, bad="skip") if click.confirm("Leave them out?", default=False) else None


def _ask_memory() -> int | None:
    from edge_client.hardware import find_hardware
    from edge_client.sizes import size
    from edge_client.training.outlook import FREE_SHARE, free_memory

    hardware = find_hardware()
    free = free_memory(hardware, cuda=hardware.accelerator == "cuda")
    _why(f"While it trains, other programs have that much less. Free now: {size(free)}.")
    question = f"How much memory may training use, like 6GiB [{FREE_SHARE:.0%} of what is free]"
    return click.prompt(question, default="", show_default=False, value_proc=lambda text: _size(text) if text else None)


def _size(text: str) -> int | None:
    return parse_size(click.get_current_context(), _nameless, text)


def _ask_when() -> tuple[str, ...] | None:
    _why(
        "Training can wait until this machine is not needed: 'idle', 'charging', or hours like 22:00-06:00; with "
        "commas, all must hold. `fedit-client pause` stops it at any time."
    )
    return click.prompt("When may it train?", default="always", value_proc=_conditions)


def _conditions(text: str) -> tuple[str, ...] | None:
    return parse_conditions(click.get_current_context(), _nameless, (text,))


_nameless = click.Option(["--answer"])


def _why(line: str) -> None:
    click.echo()
    _tell(line)


def _tell(line: str) -> None:
    click.echo(click.wrap_text(shown(line, LONGEST), shutil.get_terminal_size().columns))
