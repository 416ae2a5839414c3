"""Instruction records: read from a file, shown to the model by a template, cut to length. Light to import."""

from .reader import BadLine, Records, load_records
from .source import DataSource, Format, Record, Turn
from .template import Example, Template

__all__ = ["BadLine", "DataSource", "Example", "Format", "Record", "Records", "Template", "Turn", "load_records"]
