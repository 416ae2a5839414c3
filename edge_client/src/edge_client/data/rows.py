"""Takes a text file of records apart: JSON lines, one JSON array, CSV. A row at a time is held, never the file.

Every reader yields (number, decoded value), where a row that cannot be decoded is a :class:`BadRecordError` in the
value's place, and raises UserError where nothing after a fault can be read.
"""

import csv
import io
import json
from collections.abc import Iterator
from itertools import chain
from typing import BinaryIO

from fedit_shared.errors import UserError

from .parse import BadRecordError

Row = tuple[int, object]
MAX_ROW = 16 * 2**20
"""Bytes of the longest row that is still taken for a record."""
_TOO_LONG = f"longer than {MAX_ROW >> 20} MiB"
_CHUNK = 2**16
_BOM = b"\xef\xbb\xbf"


def json_lines(stream: BinaryIO) -> Iterator[Row]:
    """One JSON value a line, numbered by line. Blank lines are passed over."""
    for number, raw in _lines(stream):
        if raw is None:
            yield number, BadRecordError(_TOO_LONG)
        elif raw.strip():
            yield number, _decoded(raw)


def json_array(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The elements of one JSON array, numbered from 1. ``name``: the file's, for messages."""
    window = _Window(io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline=""))
    if window.take() != "[":
        raise UserError(f"{name} is no JSON array.", advice="Name its format with --format jsonl, csv or parquet.")
    number = 0
    if window.peek() == "]":
        window.take()
    else:
        following = ","
        while following == ",":
            number += 1
            try:
                value = window.value()
            except BadRecordError as reason:
                raise _broken(name, f"record {number} is {reason}") from None
            yield number, value
            following = window.take()
        if following != "]":
            raise _broken(name, f"after record {number} there is neither a comma nor the closing bracket")
    if window.peek():
        raise _broken(name, "something follows its closing bracket")


def csv_rows(stream: BinaryIO, name: str) -> Iterator[Row]:
    """The rows of a table with a header, as column → text, numbered by the line that they begin on. What separates
    the cells (comma, semicolon or tab) is seen from the header."""
    csv.field_size_limit(MAX_ROW)
    lines = _texts(stream)
    before, header = next(((number, line) for number, line in enumerate(lines) if line.strip()), (0, ""))
    separator = max(",;\t", key=header.count)
    table = csv.reader(chain([header], lines), delimiter=separator, strict=True)
    try:
        columns = [cell.strip() for cell in next(table, [])]
    except csv.Error as error:
        raise UserError(f"The header of {name} cannot be read: {error}.", advice="Correct its first line.") from None
    if len(set(columns)) < len(columns):
        raise UserError(f"The header of {name} names a column twice.", advice="Give each column a name of its own.")
    while True:
        number = before + table.line_num + 1
        try:
            cells = next(table)
        except StopIteration:
            return
        except csv.Error as error:
            yield number, BadRecordError(f"not CSV ({error})")
            continue
        if len(cells) > len(columns):
            yield number, BadRecordError(f"{len(cells)} cells, but the header has {len(columns)}")
        elif cells:
            yield number, dict(zip(columns, cells, strict=False))


class _Window:
    """A piece of a text, from which JSON values are taken; it grows to the length of one value, not more."""

    def __init__(self, stream: io.TextIOBase) -> None:
        self._stream = stream
        self._text = ""
        self._at = 0
        self._scan = json.JSONDecoder().raw_decode

    def peek(self) -> str:
        """The next character that is no white space; "" at the end."""
        while True:
            while self._at < len(self._text):
                if self._text[self._at] not in " \t\r\n":
                    return self._text[self._at]
                self._at += 1
            if not self._fill():
                return ""

    def take(self) -> str:
        """:meth:`peek`, and go past it."""
        character = self.peek()
        self._at += 1
        return character

    def value(self) -> object:
        """The next value. Raises BadRecordError."""
        self.peek()
        while True:
            problem: BadRecordError | None = None
            try:
                value, end = self._scan(self._text, self._at)
            except (ValueError, RecursionError) as error:
                problem = _not_json(error, column=False)
            else:
                if end < len(self._text):  # else it may be half a number
                    self._at = end
                    return value
            if len(self._text) - self._at > MAX_ROW:
                raise BadRecordError(f"{_TOO_LONG}, or {problem}" if problem else _TOO_LONG)
            if not self._fill():
                if problem is not None:
                    raise problem
                self._at = end
                return value

    def _fill(self) -> bool:
        """Read as much again as is held; False at the end."""
        self._text = self._text[self._at :]
        self._at = 0
        more = self._stream.read(max(_CHUNK, len(self._text)))
        self._text += more
        return bool(more)


def _lines(stream: BinaryIO) -> Iterator[tuple[int, bytes | None]]:
    """Lines with their numbers, without a byte order mark; None for one that is too long."""
    number = 0
    while line := stream.readline(MAX_ROW + 1):
        number += 1
        whole = len(line) <= MAX_ROW
        yield number, (line.removeprefix(_BOM) if number == 1 else line) if whole else None
        while not whole and not line.endswith(b"\n") and line:
            line = stream.readline(MAX_ROW + 1)


def _texts(stream: BinaryIO) -> Iterator[str]:
    """Lines as text; bytes that are none become lone surrogates, which no record may hold."""
    for _, raw in _lines(stream):
        # csv refuses what is too long by itself, but only what it gets to see
        yield " " * (MAX_ROW + 1) if raw is None else raw.decode("utf-8", errors="surrogateescape")


def _decoded(raw: bytes) -> object:
    try:
        return json.loads(raw.decode("utf-8"))
    except UnicodeDecodeError:
        return BadRecordError("not UTF-8 text")
    except (ValueError, RecursionError) as error:
        return _not_json(error)


def _not_json(error: Exception, *, column: bool = True) -> BadRecordError:
    if isinstance(error, json.JSONDecodeError):
        return BadRecordError(f"not JSON ({error.msg}{f' at column {error.colno}' if column else ''})")
    return BadRecordError("not JSON (a number too long, or nested too deeply)")


def _broken(name: str, what: str) -> UserError:
    return UserError(
        f"{name} is one JSON array, and broken: {what}.",
        advice="Correct it; in JSON lines (one record a line) a bad record can be left out by itself.",
    )
