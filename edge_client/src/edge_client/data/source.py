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
    """One instruction with its answer: ``turns`` end with the assistant's, which is what is learned.

    ``instruction``, ``context`` and ``response`` are what a template other than the model's own (Alpaca's) shows;
    for a conversation of several turns they hold its last exchange."""

    turns: tuple[Turn, ...]
    instruction: str
    context: str = ""
    response: str = ""
    category: str = ""
    line: int = 0
    """Line of the file, from 1; 0 for a record that comes from no file."""


class DataSource(msgspec.Struct, frozen=True, kw_only=True):
    """A file of instruction records, and how to read it."""

    path: str
    format: Format = "auto"
    """``auto``: found out from the file's first records."""
    fields: dict[str, str] = {}
    """This project's field name → the file's, where they differ: ``{"response": "answer"}``."""
    bad: Literal["refuse", "skip"] = "refuse"
    """What happens to a file with lines that are no records: it is refused, or they are left out and counted."""
