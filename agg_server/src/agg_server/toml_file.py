"""A settings file of TOML sections as a struct. A mistake is answered with its line and what is allowed there."""

import difflib
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from fedit_shared.errors import UserError

S = TypeVar("S", bound=msgspec.Struct)


def load(file: Path, parse: Callable[[str], S], missing: UserError) -> S:
    """What ``parse`` makes of the text of ``file``. Raises ``missing`` if there is none, and UserError naming the file
    for one that cannot be read or that ``parse`` refuses."""
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise missing from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{file} cannot be read: {error}.") from error
    try:
        return parse(text)
    except UserError as error:
        raise UserError(f"{file}: {error.message}", advice=error.advice) from error


def parse(text: str, kind: type[S], *, advice: str = "", dec_hook: Callable[[type, Any], Any] | None = None) -> S:
    """``text`` as ``kind``, a struct of one struct a section. ``advice``: for text that is no TOML. Where [training]
    gives steps or minutes, it does not count epochs. Raises UserError naming the line and what is allowed."""
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UserError(f"not valid TOML: {error}.", advice=advice) from error
    except (ValueError, RecursionError) as error:
        raise UserError("not valid TOML: a number too long, or nested too deeply.", advice=advice) from error
    _refuse_unknown(tables, text, kind)
    training = tables.get("training", {})
    if {"steps", "minutes"} & set(training):
        training.setdefault("epochs", None)
    try:
        return msgspec.convert(tables, kind, dec_hook=dec_hook)
    except msgspec.ValidationError as error:
        raise _readable(str(error), text) from error


def with_values(text: str, values: Mapping[str, object], *, section: str) -> str:
    """``text``, a commented settings file, with ``key = value`` lines in one section; a key that is commented out is
    uncommented. Raises UserError for a section that is not there."""
    head, mark, rest = text.partition(f"[{section}]\n")
    if not mark:
        raise UserError(f"The settings have no section [{section}].")
    body, next_mark, tail = rest.partition("\n[")
    for key, value in values.items():
        line = f"{key} = {json.dumps(value)}"
        plain = line.replace("\\", r"\\")
        body, found = re.subn(rf"^(# *)?{key} *=.*$", plain, body, count=1, flags=re.MULTILINE)
        if not found:
            body = f"{line}\n{body}"
    return head + mark + body + next_mark + tail


def is_given(text: str, section: str, key: str) -> bool:
    """Whether ``text``, valid TOML, sets this key."""
    return key in tomllib.loads(text).get(section, {})


def at(text: str, section: str, key: str | None, message: str) -> UserError:
    """The error that says ``message`` of this key."""
    line = _line(text, section, key)
    return UserError(f"line {line}: {message}" if line else message)


def nearest(word: str, known: Iterable[str]) -> str:
    """How a message of an unknown ``word`` ends."""
    known = list(known)
    near = difflib.get_close_matches(word, known, 1, 0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; there are {', '.join(known)}."


def _refuse_unknown(tables: dict[str, Any], text: str, kind: type[msgspec.Struct]) -> None:
    sections = get_type_hints(kind)
    for section, table in tables.items():
        if section not in sections or not isinstance(table, dict):
            raise at(text, section, None, f"there is no section [{section}]{nearest(section, sections)}")
        known = get_type_hints(sections[section])
        for key in table:
            if key not in known:
                raise at(text, section, key, f"[{section}] has no key {key!r}{nearest(key, known)}")


def _readable(message: str, text: str) -> UserError:
    what, _, place = message.partition(" - at `$.")
    section, _, key = place.rstrip("`").partition(".")
    key = key.split("[")[0]
    missing = re.match(r"Object missing required field `(\w+)`", what)
    if missing:
        return UserError(f"[{section}] needs {missing[1]}." if section else f"the section [{missing[1]}] is missing.")
    if "regex" in what:
        what = "expected a line without control characters"
    return at(text, section, key, f"[{section}] {key}: {what.replace('`', '').lower()}.")


def _line(text: str, section: str, key: str | None) -> int | None:
    """The line, from 1, on which a section or its key stands; None if it was not written that plainly."""
    current, found = "", None
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[\s*([\w-]+)\s*\]", line)
        if header:
            current = header[1]
            if current == section:
                found = number
                if key is None:
                    return number
        elif key and current == section and re.match(rf"\s*\"?{re.escape(key)}\"?\s*=", line):
            return number
    return found
