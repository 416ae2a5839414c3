"""Instruction records: read from a file, shown to the model by a template, cut to length. Light to import."""

from .source import DataSource, Format, Record, Turn

__all__ = ["DataSource", "Format", "Record", "Turn"]
