"""Instruction records: read from files or the hub, shown to the model by a template, cut to length. Light to import."""

from .hub import pin
from .reader import BadLine, Records, Scan, load_records
from .source import Container, DataSource, Format, Record, Turn, located
from .template import Example, Template

__all__ = [
    "BadLine",
    "Container",
    "DataSource",
    "Example",
    "Format",
    "Record",
    "Records",
    "Scan",
    "Template",
    "Turn",
    "load_records",
    "located",
    "pin",
]
