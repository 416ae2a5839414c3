"""Reads files of records, of whatever kind, and says which lines are none.

A file is read as a stream: a row, or a batch of 128 rows of Parquet, is held beside the records that
:func:`load_records` collects, and they hold each text once. :class:`Scan` alone holds none of them.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edge_client.hub import Progress
from fedit_shared.errors import UserError

from .containers import HEAD, UNITS, find_container
from .hub import data_files, is_on_hub
from .parquet import parquet_rows
from .parse import BadRecordError, check_fields, find_format, parse_record, shown
from .rows import Row, csv_rows, json_array, json_lines
from .source import Container, DataSource, Format, Record

_SHOWN = 5
_HOPELESS = 10_000
"""So many rows without one record among them are no file of records."""
_FORMS = (
    "dolly (instruction, context, response), alpaca (instruction, input, output), chat (messages) or "
    "ShareGPT (conversations)"
)


class AbsentError(UserError):
    """There is no such file."""

    code = "absent"


@dataclass(frozen=True)
class BadLine:
    """A line, element or row (``unit``) that is no record, and why."""

    line: int
    reason: str
    unit: str = "line"

    def __str__(self) -> str:
        return f"{self.unit} {self.line}: {self.reason}"


@dataclass(frozen=True)
class Records:
    """What a file holds. ``sha256``: of the whole file; of a data set of several files, over their hashes."""

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


class Scan:
    """One pass over what ``source`` names: iterating gives each record or what stands in its place, in order.

    Raises UserError, then or when it is made, for a file that cannot be read, is of no known kind, or has columns that
    are no record's. ``format`` is ``auto`` until the first record was seen. ``show``: messages may name the file's own
    fields, which without a header are what its first row says.
    """

    def __init__(
        self, source: DataSource, progress: Progress = lambda here, total: None, *, show: bool = False
    ) -> None:
        check_fields(source.fields)
        self.source = source
        self.format: Format = source.format
        self.files = data_files(source.path, progress) if is_on_hub(source.path) else [_file(source.path)]
        self.container: Container = source.container
        self._before = 0
        self._show = show

    @property
    def unit(self) -> str:
        """What ``Record.line`` counts; known once the first row was seen."""
        return UNITS.get(self.container, "line")

    def __iter__(self) -> Iterator[Record | BadLine]:
        last = 0
        for path in self.files:
            with _reading(path), path.open("rb") as stream:
                for number, value in self._rows(path, stream):
                    last = self._before + number
                    yield self._record(path, last, value)
            self._before = last

    def unknown_fields(self) -> list[str]:
        """The names in the first object, where they are those of no known form, less those that no terminal shows; else
        none. Raises as iterating does."""
        for path in self.files:
            with _reading(path), path.open("rb") as stream:
                for _, value in self._rows(path, stream):
                    if isinstance(value, dict):
                        known = find_format(value, self.source.fields)
                        return [] if known else [name for name in value if shown(name) == name]
        return []

    def _rows(self, path: Path, stream: BinaryIO) -> Iterator[Row]:
        self.container = find_container(path, stream.read(HEAD), self.source.container)
        stream.seek(0)
        match self.container:
            case "json":
                return json_array(stream, str(path))
            case "csv":
                return csv_rows(stream, str(path))
            case "parquet":
                return parquet_rows(path, self.format, self.source.fields)
        return json_lines(stream)

    def _record(self, path: Path, number: int, value: object) -> Record | BadLine:
        try:
            if isinstance(value, BadRecordError):
                raise value
            if self.format == "auto" and isinstance(value, dict):
                self.format = find_format(value, self.source.fields) or "auto"
                if self.format == "auto" and self.container in ("csv", "parquet"):
                    raise UserError(
                        f"The {self._columns(value)} of {path} are not those of {_FORMS}.",
                        advice="Its header has to name them; say which one is meant, for instance "
                        "--field response=NAME. `fedit-client data check FILE --show` tells what they are.",
                    )
            if self.format == "auto":
                raise BadRecordError(self._unknown(value))
            return parse_record(value, self.format, self.source.fields, number)
        except BadRecordError as reason:
            return BadLine(number, str(reason), self.unit)

    def _unknown(self, value: object) -> str:
        if not isinstance(value, dict):
            return "not a JSON object"
        return f"its {self._columns(value, 'fields')} are not those of {_FORMS}"

    def _columns(self, value: dict[str, object], what: str = "columns") -> str:
        names = ", ".join(shown(name) for name in list(value)[:8])
        return f"{len(value)} {what} ({names})" if self._show else f"{len(value)} {what}"


def load_records(source: DataSource, progress: Progress = lambda here, total: None) -> Records:
    """Every record that ``source`` names, in its order. Blank lines are ignored. ``progress`` is told of a data set
    that has to be fetched from the hub.

    Raises UserError for a file that cannot be read, is of no known kind, holds no record, or, unless bad lines are to
    be skipped, has lines that are no records.
    """
    scan = Scan(source, progress)
    before = _marks(scan.files)
    digest = _digest(scan.files)
    records: list[Record] = []
    bad: list[BadLine] = []
    for found in scan:
        if isinstance(found, Record):
            records.append(found)
            continue
        bad.append(found)
        if not records and len(bad) == _HOPELESS:
            break
    if _marks(scan.files) != before:
        raise UserError(f"{source.path} was changed while it was read.", advice="Start again when it is complete.")
    if bad and (source.bad == "refuse" or not records):
        raise UserError(
            f"{len(bad)} of the {len(bad) + len(records)} records in {source.path} cannot be read: {_first(bad)}.",
            advice="Correct them, or leave them out with --bad-lines skip."
            if records
            else f"Each has to be one object, as {_FORMS}; --field response=NAME maps another name.",
        )
    if not records:
        raise UserError(f"{source.path} is empty.", advice="It has to hold at least one record.")
    return Records(tuple(records), tuple(bad), scan.format, digest)


def _file(name: str) -> Path:
    path = Path(name)
    with _reading(path):
        if path.is_dir():
            raise UserError(f"{path} is a folder.", advice="Name a file of records: JSON lines, JSON, CSV or Parquet.")
        if path.exists() and not path.is_file():
            raise UserError(f"{path} is no regular file.", advice="Write the records into a file and name that.")
    return path


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """An error of the file system becomes a UserError that names ``path``, AbsentError where it is not there."""
    try:
        yield
    except FileNotFoundError as error:
        message = f"{path} cannot be read: {error.strerror or error}."
        raise AbsentError(message, advice="Name the file that holds your records.") from error
    except OSError as error:
        raise UserError(
            f"{path} cannot be read: {error.strerror or error}.", advice="Let this user read it, or name another file."
        ) from error


def _marks(files: list[Path]) -> list[tuple[int, int]]:
    marks = []
    for path in files:
        with _reading(path):
            status = os.stat(path)
        marks.append((status.st_size, status.st_mtime_ns))
    return marks


def _digest(files: list[Path]) -> bytes:
    digests = []
    for path in files:
        with _reading(path), path.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").digest())
    return digests[0] if len(digests) == 1 else hashlib.sha256(b"".join(digests)).digest()


def _first(bad: list[BadLine]) -> str:
    shown_first = "; ".join(map(str, bad[:_SHOWN]))
    return shown_first if len(bad) <= _SHOWN else f"{shown_first}; and {len(bad) - _SHOWN} more"
