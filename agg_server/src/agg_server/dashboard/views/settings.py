"""The settings that this process runs with, each with what the settings file says of it."""

from typing import NamedTuple

from agg_server.config import Config
from agg_server.durations import Seconds, in_words
from agg_server.store.database import shown
from agg_server.template import Meaning, meanings


class Setting(NamedTuple):
    """One key and its value in words."""

    key: str
    value: str


class Group(NamedTuple):
    """Settings that have their meaning in common."""

    settings: list[Setting]
    meaning: str


class Section(NamedTuple):
    """A section of the file."""

    name: str
    groups: list[Group]


def sections(config: Config) -> list[Section]:
    """All of them, in the file's order. No password is shown."""
    found: dict[str, list[Group]] = {}
    for meaning in meanings():
        found.setdefault(meaning.section, []).append(_group(config, meaning))
    return [Section(name, groups) for name, groups in found.items()]


def _group(config: Config, meaning: Meaning) -> Group:
    values = getattr(config, meaning.section)
    settings = [Setting(key, _words(meaning.section, key, getattr(values, key))) for key in meaning.keys]
    return Group(settings, meaning.words)


def _words(section: str, key: str, value: object) -> str:
    if (section, key) == ("server", "database"):
        return shown(str(value))
    match value:
        case None | "":
            return "–"
        case bool():
            return "yes" if value else "no"
        case Seconds():
            return in_words(value)
        case tuple() | list():
            return ", ".join(map(str, value))
        case float():
            return f"{value:g}"
    return str(value)
