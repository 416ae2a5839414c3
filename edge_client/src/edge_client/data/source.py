"""Where instruction records come from, and what one is."""

from pathlib import Path
from typing import Literal

import msgspec

from edge_client.paths import absolute

Format = Literal["auto", "dolly", "alpaca", "chat", "sharegpt"]
Container = Literal["auto", "jsonl", "json", "csv", "parquet"]
Role = Literal["system", "user", "assistant"]

HUB = "hf:"
"""What a data set of the Hugging Face hub begins with where a file could stand: ``hf:OWNER/NAME``."""
APPLICATION = "(an application's records)"
"""Stands in the place of a file where a program gives the records."""


class Turn(msgspec.Struct, frozen=True):
    """One message of a conversation."""

    role: Role
    content: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One instruction with its answer. ``response`` is what is learned; it is empty only where an answer is wanted."""

    instruction: str
    context: str = ""
    response: str = ""
    category: str = ""
    earlier: tuple[Turn, ...] = ()
    """What was said before the instruction, in a record of several turns."""
    line: int = 0
    """Where it stands, from 1, in the container's own unit: line, element of the array, row; over all files of a data
    set counted on. 0 for a record that comes from no file."""

    @property
    def asked(self) -> str:
        """The instruction with its context, as one message."""
        return f"{self.instruction}\n\n{self.context}" if self.context else self.instruction


class DataSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file of instruction records, and how to read it."""

    path: str
    """A file, or ``hf:OWNER/NAME[@REVISION][:FILES]``, a data set of the Hugging Face hub."""
    format: Format = "auto"
    """The records' fields. ``auto``: found out from the first record."""
    fields: dict[str, str] = {}
    """This project's field name → the file's, where they differ: ``{"response": "answer"}``."""
    bad: Literal["refuse", "skip"] = "refuse"
    """What happens to a file with lines that are no records: it is refused, or they are left out and counted."""
    container: Container = "auto"
    """The file's own format. ``auto``: found out from its content and name."""


def located(path: str | Path) -> str:
    """``path`` as it can be kept: a file's from the root on, what is no file as it is. Raises UserError as
    :func:`edge_client.paths.absolute` does."""
    return str(path) if str(path).startswith(HUB) or path == APPLICATION else str(absolute(path))
