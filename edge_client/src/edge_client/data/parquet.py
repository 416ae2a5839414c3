"""Rows of a Parquet file, a batch at a time."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge_client.reasons import reason_of
from fedit_shared.errors import UserError

from .parse import field_names, find_format
from .rows import Row
from .source import Format

_BATCH = 128


def parquet_rows(path: Path, form: Format, fields: dict[str, str]) -> Iterator[Row]:
    """The rows as column → value, numbered from 1. Only the columns of ``form``'s fields are read, or of the form
    that the columns fit. One row group's pages are held at a time. Raises UserError, also where pyarrow is missing."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise UserError(
            "Parquet files are read with pyarrow, which is not installed.", advice="Run `pip install pyarrow`."
        ) from error
    number = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=2**20) as file:
            columns = _wanted(file.schema_arrow.names, form, fields)
            for batch in file.iter_batches(_BATCH, columns=columns, use_threads=False):
                values: list[dict[str, Any]] = batch.to_pylist()
                for value in values:
                    number += 1
                    yield number, value
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError, OverflowError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = reason_of(error, 200)
        where = f"after row {number}" if number else "at its beginning"
        raise UserError(
            f"{path} cannot be read as Parquet {where}: {what}.", advice="It is damaged: get it once more."
        ) from error


def _wanted(columns: list[str], form: Format, fields: dict[str, str]) -> list[str] | None:
    """None: all, so that a message can name them."""
    known = find_format(dict.fromkeys(columns), fields) if form == "auto" else form
    return None if known is None else [name for name in field_names(known, fields).values() if name in columns]
