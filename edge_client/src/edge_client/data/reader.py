"""Reads a file of JSON lines into records, and says which lines are none."""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fedit_shared.errors import UserError

from .parse import BadRecordError, check_fields, find_format, parse_record
from .source import DataSource, Format, Record

MAX_LINE = 16 * 2**20
"""Bytes of the longest line that is still taken for a record."""
_SHOWN = 5
_FORMS = "dolly (instruction, context, response), alpaca (instruction, input, output) or chat (messages)"


@dataclass(frozen=True)
class BadLine:
    """A line that is no record, and why."""

    line: int
    reason: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


@dataclass(frozen=True)
class Records:
    """What a file holds. ``sha256``: of the whole file."""

    records: tuple[Record, ...]
    bad: tuple[BadLine, ...]
    format: Format
    sha256: bytes

    def categories(self) -> dict[str, int]:
        """Records by category, in alphabetical order."""
        counts: dict[str, int] = {}
        for record in self.records:
            counts[record.category] = counts.get(record.category, 0) + 1
        return dict(sorted(counts.items()))


def load_records(source: DataSource) -> Records:
    """Every record of ``source``'s file, in its order. Blank lines are ignored.

    Raises UserError for a file that cannot be read, is no text, holds no record, or, unless bad lines are to be
    skipped, has lines that are no records.
    """
    check_fields(source.fields)
    path = Path(source.path)
    if path.is_dir():
        raise UserError(f"{path} is a folder.", advice="Name a file of JSON lines, one record a line.")
    try:
        with path.open("rb") as stream:
            records, bad, form, sha256 = _read(stream, source)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}.", advice="Check --data.") from error
    if bad and (source.bad == "refuse" or not records):
        raise UserError(
            f"{len(bad)} of the {len(bad) + len(records)} records in {path} cannot be read: {_first(bad)}.",
            advice="Correct them, or leave them out with --bad-lines skip."
            if records
            else f"Each line has to be one JSON object, as {_FORMS}; --field response=NAME maps another name.",
        )
    if not records:
        raise UserError(f"{path} is empty.", advice="It has to hold at least one record, as a line of JSON.")
    return Records(tuple(records), tuple(bad), form, sha256)


def _read(stream: BinaryIO, source: DataSource) -> tuple[list[Record], list[BadLine], Format, bytes]:
    digest = hashlib.sha256()
    records: list[Record] = []
    bad: list[BadLine] = []
    form = source.format
    for number, raw in _lines(stream):
        digest.update(raw)
        if number == 1:
            _refuse_other_encodings(raw, source.path)
            raw = raw.removeprefix(b"\xef\xbb\xbf")
        if not raw.strip():
            continue
        try:
            value = _decode(raw)
            if form == "auto" and isinstance(value, dict):
                form = find_format(value, source.fields) or "auto"
            if form == "auto":
                raise BadRecordError(_unknown(value))
            records.append(parse_record(value, form, source.fields, number))
        except BadRecordError as reason:
            bad.append(BadLine(number, str(reason)))
    return records, bad, form, digest.digest()


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    number = 0
    while line := stream.readline(MAX_LINE + 1):
        number += 1
        yield number, line
        while len(line) > MAX_LINE and not line.endswith(b"\n"):  # the rest of a line that is no record anyway
            line = stream.readline(MAX_LINE + 1)
            yield number, b""


def _decode(raw: bytes) -> object:
    if len(raw) > MAX_LINE:
        raise BadRecordError(f"longer than {MAX_LINE >> 20} MiB")
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise BadRecordError("not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise BadRecordError(f"not JSON ({error.msg} at column {error.colno})") from None
    except (ValueError, RecursionError):
        raise BadRecordError("not JSON (a number too long, or nested too deeply)") from None


def _unknown(value: object) -> str:
    if not isinstance(value, dict):
        return "not a JSON object"
    return f"its fields ({', '.join(map(str, list(value)[:8]))}) are not those of {_FORMS}"


def _refuse_other_encodings(start: bytes, path: str) -> None:
    if start.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise UserError(f"{path} is UTF-16 text.", advice="Save it as UTF-8.")
    if b"\0" in start:
        raise UserError(f"{path} is a binary file.", advice="Name a file of JSON lines, one record a line.")
    if start.lstrip().startswith(b"["):
        raise UserError(f"{path} is one JSON array.", advice="Write one record a line instead (JSON lines).")


def _first(bad: list[BadLine]) -> str:
    shown = "; ".join(map(str, bad[:_SHOWN]))
    return shown if len(bad) <= _SHOWN else f"{shown}; and {len(bad) - _SHOWN} more"
