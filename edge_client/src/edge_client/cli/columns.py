"""Answers as they come: in columns side by side, or one after the other."""

import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Protocol

import click

from fedit_shared.text import shown

from .views import UNDRAWABLE

if TYPE_CHECKING:
    from rich.table import Table

LEAST_COLUMNS = 80
"""A terminal's width from which two answers stand side by side."""
_LONGEST = 2**20
_REST = 4
"""Lines of the terminal that an answer that is being made leaves free."""


class Answers(Protocol):
    """Shows the answers to one instruction, one being made at a time."""

    def answering(self, names: Sequence[str]) -> AbstractContextManager[None]:
        """Around the answers of the arms of these names."""

    def begin(self, name: str) -> None:
        """From here on, this one's."""

    def piece(self, text: str) -> None:
        """Its next characters, whatever they are."""

    def note(self, line: str) -> None:
        """Something about it, after its end."""


class Lines:
    """One after the other, without control characters."""

    def __init__(self) -> None:
        self._first = True

    @contextmanager
    def answering(self, names: Sequence[str]) -> Iterator[None]:
        self._first = True
        yield
        click.echo()

    def begin(self, name: str) -> None:
        click.echo(f"{'' if self._first else chr(10)}{name}: ", nl=False)
        self._first, self._blank = False, True

    def piece(self, text: str) -> None:
        if self._blank:
            text = text.lstrip()
            self._blank = not text
        click.echo(_safe(text), nl=False)

    def note(self, line: str) -> None:
        click.echo(f" [{line}]", nl=False)


class Columns:
    """Side by side. While an answer is made, the end of it that fits is shown; then the whole, which scrolls by."""

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(highlight=False)
        self._texts: dict[str, str] = {}
        self._name = ""

    @contextmanager
    def answering(self, names: Sequence[str]) -> Iterator[None]:
        from rich.live import Live

        self._texts = dict.fromkeys(names, "")
        with Live(
            console=self._console, transient=True, vertical_overflow="crop", get_renderable=self._fitting
        ) as self._live:
            yield
        self._console.print(self._table(0))

    def begin(self, name: str) -> None:
        self._name = name

    def piece(self, text: str) -> None:
        self._texts[self._name] = (self._texts[self._name] + _safe(text)).lstrip()

    def note(self, line: str) -> None:
        self._texts[self._name] += f" [{line}]"

    def _fitting(self) -> "Table":
        return self._table(max(1, self._console.height - _REST))

    def _table(self, rows: int) -> "Table":
        """``rows``: so many of each answer's last ones; 0: all."""
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, expand=True, padding=(0, 2, 0, 0))
        width = self._console.width // len(self._texts) - 2
        for name in self._texts:
            table.add_column(name, ratio=1, header_style="bold cyan" if name == self._name else "bold")
        wrapped = [Text(text).wrap(self._console, width) for text in self._texts.values()]
        table.add_row(*(Text("\n").join(lines[-rows:] if rows else lines) for lines in wrapped))
        return table


def _safe(text: str) -> str:
    """``text`` with its line breaks, and nothing else that a terminal obeys."""
    return "\n".join(shown(line.expandtabs(4), _LONGEST) for line in text.split("\n"))


def choose(*, plain: bool) -> Answers:
    """Columns where stdout is a terminal that is wide enough, unless ``plain``."""
    wide = shutil.get_terminal_size().columns >= LEAST_COLUMNS
    if plain or not wide or not sys.stdout.isatty() or os.environ.get("TERM") in UNDRAWABLE:
        return Lines()
    return Columns()
