"""Where instruction records come from, and what one is."""

from typing import Literal

import msgspec

Format = Literal["auto", "dolly", "alpaca", "chat"]
Role = Literal["system", "user", "assistant"]


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
    """Line of the file, from 1; 0 for a record that comes from no file."""


class DataSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file of instruction records, and how to read it."""

    path: str
    format: Format = "auto"
    """``auto``: found out from the file's first record."""
    fields: dict[str, str] = {}
    """This project's field name → the file's, where they differ: ``{"response": "answer"}``."""
    bad: Literal["refuse", "skip"] = "refuse"
    """What happens to a file with lines that are no records: it is refused, or they are left out and counted."""
