"""Records that come from no file, written as one: how an application hands over its own."""

from collections.abc import Callable, Iterable, Sequence
from typing import BinaryIO

import msgspec

from .source import Record

RecordSource = Callable[[], Iterable[Record]]
"""Gives the records to train on, anew each time it is called. It may block: it is called in a thread."""


def write_records(records: Sequence[Record], file: BinaryIO) -> None:
    """Write ``records`` as JSON lines that :func:`~edge_client.data.load_records` reads. Where one has earlier turns
    all become conversations, with the context after the instruction."""
    written = _conversation if any(record.earlier for record in records) else _instruction
    for record in records:
        file.write(msgspec.json.encode(written(record)) + b"\n")


def _instruction(record: Record) -> dict[str, object]:
    return {
        "instruction": record.instruction,
        "context": record.context,
        "response": record.response,
        "category": record.category,
    }


def _conversation(record: Record) -> dict[str, object]:
    messages = [
        *({"role": turn.role, "content": turn.content} for turn in record.earlier),
        {"role": "user", "content": record.asked},
        {"role": "assistant", "content": record.response},
    ]
    return {"messages": messages, "category": record.category}
