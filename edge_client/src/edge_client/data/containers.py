"""Finds out what kind of file holds the records."""

from pathlib import Path

from fedit_shared.errors import UserError

from .source import Container

HEAD = 4096
"""Bytes of a file's beginning that are looked at."""
UNITS = {"jsonl": "line", "json": "record", "csv": "line", "parquet": "row"}
"""What is counted in each."""
_SUFFIXES: dict[str, Container] = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".tsv": "csv"}
_ENCODINGS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}
_PACKED = {b"\x1f\x8b": "gzip", b"PK\x03\x04": "zip (or a spreadsheet)", b"(\xb5/\xfd": "zstd", b"BZh": "bzip2"}
_PARQUET = b"PAR1"


def find_container(path: Path, head: bytes, wanted: Container) -> Container:
    """The kind of the file ``path`` that begins with ``head``: ``wanted``, or what content and name say. Raises
    UserError for what holds no records, and where it is not clear."""
    if head.startswith(_PARQUET):
        found: Container = "parquet"
    else:
        _refuse_no_text(path, head)
        start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
        by_name = _SUFFIXES.get(path.suffix.lower(), "auto")
        by_start: Container = "json" if start == b"[" else "jsonl" if start == b"{" or not start else "auto"
        found = "csv" if by_name == "csv" else by_start if by_start != "auto" else by_name
    if wanted == "parquet" and found != wanted:
        raise UserError(f"{path} is no Parquet file.", advice="Leave --format out: the format is found out.")
    if wanted not in ("auto", "parquet") and found == "parquet":
        raise UserError(f"{path} is a Parquet file.", advice="Leave --format out: the format is found out.")
    if wanted != "auto":
        return wanted
    if found == "auto":
        raise UserError(f"It is not clear what {path} is.", advice="Say it with --format: jsonl, json, csv or parquet.")
    return found


def _refuse_no_text(path: Path, head: bytes) -> None:
    for magic, name in _ENCODINGS.items():
        if head.startswith(magic):
            raise UserError(f"{path} is {name} text.", advice="Save it as UTF-8.")
    for magic, name in _PACKED.items():
        if head.startswith(magic):
            raise UserError(f"{path} is a compressed file, {name}.", advice="Unpack it, or export it as CSV.")
    if b"\0" in head:
        raise UserError(
            f"{path} is a binary file.", advice="Name a file of records: JSON lines, a JSON array, CSV or Parquet."
        )
