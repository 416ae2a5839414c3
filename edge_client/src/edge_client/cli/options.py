"""Options that several commands share, and their types."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from fedit_shared.errors import UserError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

F = TypeVar("F", bound=Callable[..., Any])
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12, "ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
LEAST_MEMORY = 2**29
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def parse_size(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Bytes of ``6GiB``, ``6G`` or ``512MiB``."""
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]i?|)b?\s*", value, re.IGNORECASE)
    if match is None:
        raise click.BadParameter(f"{value!r} is no size; write it like 6GiB or 512MiB.", context, parameter)
    size = int(float(match[1]) * _UNITS[match[2].lower()])
    if size < LEAST_MEMORY:
        raise click.BadParameter(f"{value!r} is less than any training needs; write it like 6GiB.", context, parameter)
    return size


def parse_span(context: click.Context, parameter: click.Parameter, value: str | None) -> int | None:
    """Seconds of ``2h``, ``30min`` or ``1.5d``."""
    if value is None:
        return None
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|min|h|d)\s*", value, re.IGNORECASE)
    seconds = int(float(match[1]) * _SECONDS[match[2].lower()]) if match else 0
    if not 0 < seconds <= 366 * _SECONDS["d"]:
        raise click.BadParameter(f"{value!r} is no span of time; write it like 2h or 30min.", context, parameter)
    return seconds


def parse_conditions(
    context: click.Context, parameter: click.Parameter, values: tuple[str, ...]
) -> tuple[str, ...] | None:
    """The conditions of ``--when``; None if it was not given."""
    if not values:
        return None
    from edge_client.yielding import parse_when

    try:
        return parse_when(values).words
    except UserError as error:
        raise click.BadParameter(f"{error.message} {error.advice}", context, parameter) from error


def parse_fields(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    """Field name → the file's name for it, of ``response=answer``."""
    pairs = [value.partition("=") for value in values]
    for value, (name, _, theirs) in zip(values, pairs, strict=True):
        if not name or not theirs:
            raise click.BadParameter(f"{value!r} names no field; write it like response=answer.", context, parameter)
    return {name: theirs for name, _, theirs in pairs}


def parse_names(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[str, ...] | None:
    """The names in ``one,two``; None if the option was not given."""
    return None if value is None else tuple(name.strip() for name in value.split(",") if name.strip())


class Named(click.ParamType):  # type: ignore[type-arg]
    """A text that may name a file (``file``) or folder (``dir``) of this machine, or something on the hub: a shell
    completes the former."""

    name = "text"

    def __init__(self, kind: str) -> None:
        self._kind = kind

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> "list[CompletionItem]":
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type=self._kind)]


DATA, MODEL = Named("file"), Named("dir")


def _conditions(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    return [word for word in ("idle", "charging", "always") if word.startswith(incomplete)]


def data_options(command: F) -> F:
    """How a file of records is to be read: ``fields``, ``container`` and ``bad_lines``."""
    for option in (
        click.option(
            "--bad-lines",
            type=click.Choice(["refuse", "skip"]),
            help="What to do with a file that has lines which are no records (default: refuse it).",
        ),
        click.option(
            "--format",
            "container",
            type=click.Choice(["jsonl", "json", "csv", "parquet"]),
            help="What kind of file it is (default: seen from its content and name).",
        ),
        click.option(
            "--field",
            "fields",
            multiple=True,
            callback=parse_fields,
            metavar="NAME=THEIRS",
            help="What your file calls a field: response=answer. May be repeated.",
        ),
    ):
        command = option(command)
    return command


def preference_options(command: F) -> F:
    """How a machine takes part, kept until said otherwise: ``data``, those of :func:`data_options`, ``memory``,
    ``model_path``, ``min_survivors`` and ``when``."""
    for option in (
        click.option(
            "--when",
            multiple=True,
            callback=parse_conditions,
            shell_complete=_conditions,
            metavar="CONDITION",
            help="Train only while this machine is 'idle', 'charging', or at 'HH:MM-HH:MM'; 'always' (at first). "
            "Repeated, or with commas: all must hold.",
        ),
        click.option(
            "--min-survivors",
            type=click.IntRange(3, 255),
            metavar="N",
            help="Stay out of sums of fewer than N devices (at first: 3).",
        ),
        click.option(
            "--model-path",
            type=click.Path(path_type=Path, file_okay=False),
            help="Folder with the base model's files, instead of downloading them.",
        ),
        click.option(
            "--memory",
            callback=parse_size,
            metavar="SIZE",
            help="What training may use, like 6GiB (at first: nine tenths of what is free).",
        ),
        data_options,
        click.option(
            "--data",
            type=DATA,
            metavar="FILE|hf:OWNER/NAME",
            help="Your instruction records: JSON lines, JSON, CSV or Parquet, or a data set of the Hugging Face hub "
            "(hf:OWNER/NAME[@REVISION][:FILES]). They stay here.",
        ),
    ):
        command = option(command)
    return command


def state_option(command: F) -> F:
    """``--state DIR``."""
    return click.option(
        "--state",
        type=click.Path(path_type=Path, file_okay=False),
        help="Folder of this federation's keys and progress (default: the platform's own place, or $FEDIT_STATE).",
    )(command)


def json_option(command: F) -> F:
    """``--json``, as ``as_program``."""
    return click.option("--json", "as_program", is_flag=True, help="As JSON, for programs.")(command)


def view_options(command: F) -> F:
    """``--plain`` and ``--json``, as one parameter ``view``."""
    for name, text in (
        ("json", "Events as JSON lines, for programs."),
        ("plain", "Plain lines instead of a live view."),
    ):
        option = click.option(f"--{name}", "view", flag_value=name, help=text)
        command = option(command)
    return command


def work_options(command: F) -> F:
    """How long ``join`` and ``run`` work, for which task, where, and what they show of it."""
    for option in (
        click.option(
            "--rounds",
            type=click.IntRange(1),
            metavar="N",
            help="Stop once N updates have gone up and their rounds are over.",
        ),
        click.option(
            "--accept-new-task",
            is_flag=True,
            help="Agree to the federation's task unasked, though it is no longer the one that you joined for.",
        ),
    ):
        command = option(command)
    return view_options(state_option(command))
