"""Instruction records: read from files or the hub, shown to the model by a template, cut to length. Light to import."""

from .hub import pin
from .reader import AbsentError, BadLine, Records, Scan, load_records
from .source import APPLICATION, Container, DataSource, Format, Record, Turn, located
from .template import Example, Template
from .writing import RecordSource, write_records

__all__ = [
    "APPLICATION",
    "AbsentError",
    "BadLine",
    "Container",
    "DataSource",
    "Example",
    "Format",
    "Record",
    "RecordSource",
    "Records",
    "Scan",
    "Template",
    "Turn",
    "load_records",
    "located",
    "pin",
    "write_records",
]
