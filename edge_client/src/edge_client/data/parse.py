"""One JSON object → one record, in the forms that people have: dolly, alpaca, chat, ShareGPT."""

from typing import Any

from fedit_shared.errors import UserError

from .source import Format, Record, Role, Turn

_NAMES: dict[Format, dict[str, str]] = {
    "chat": {"messages": "messages", "category": "category"},
    "sharegpt": {"messages": "conversations", "category": "category"},
    "dolly": {"instruction": "instruction", "context": "context", "response": "response", "category": "category"},
    "alpaca": {"instruction": "instruction", "context": "input", "response": "output", "category": "category"},
}
_REQUIRED = ("messages", "instruction", "response")
_ROLES: dict[str, Role] = {"system": "system", "user": "user", "assistant": "assistant"}
_SPEAKERS: dict[str, Role] = _ROLES | {"human": "user", "gpt": "assistant"}
"""ShareGPT's names."""
_SHOWN = 40


class BadRecordError(Exception):
    """Why an object is no record, in a few words, none of them the object's: they reach events and logs. Never shown
    alone: the reader adds the line."""


def find_format(value: dict[str, Any], fields: dict[str, str]) -> Format | None:
    """The form whose required fields ``value`` has, after the mapping ``fields``; None for none of them."""
    for form in _NAMES:
        names = field_names(form, fields)
        if all(names[field] in value for field in _REQUIRED if field in names):
            return form
    return None


def field_names(form: Format, fields: dict[str, str]) -> dict[str, str]:
    """This project's field name → the file's, in ``form`` after the mapping ``fields``."""
    return {field: fields.get(field, name) for field, name in _NAMES[form].items()}


def check_fields(fields: dict[str, str]) -> None:
    """Raises UserError for a mapping of a field that no form has."""
    known = sorted({field for names in _NAMES.values() for field in names})
    for field in fields:
        if field not in known:
            raise UserError(f"There is no field {field!r} to map.", advice=f"The fields are {', '.join(known)}.")


def parse_record(value: object, form: Format, fields: dict[str, str], line: int) -> Record:
    """The record that ``value`` (a decoded JSON value) is. Raises BadRecordError."""
    if not isinstance(value, dict):
        raise BadRecordError("not a JSON object")
    names = field_names(form, fields)
    category = _label(value, names["category"])
    if "messages" in names:
        return _conversation(value, names["messages"], category, line, sharegpt=form == "sharegpt")
    return Record(
        instruction=_text(value, names["instruction"]),
        context=_text(value, names["context"], required=False),
        response=_text(value, names["response"]),
        category=category,
        line=line,
    )


def _conversation(value: dict[str, Any], name: str, category: str, line: int, *, sharegpt: bool) -> Record:
    messages = value.get(name)
    if not isinstance(messages, list):
        raise BadRecordError(f"{name!r} is missing or not a list")
    turns = [_turn(message, place, sharegpt=sharegpt) for place, message in enumerate(messages, 1)]
    if len(turns) < 2 or turns[-1].role != "assistant" or turns[-2].role != "user":
        raise BadRecordError("the last two messages are not one of the user and its answer by the assistant")
    return Record(
        instruction=turns[-2].content,
        response=turns[-1].content,
        earlier=tuple(turns[:-2]),
        category=category,
        line=line,
    )


def _turn(message: object, place: int, *, sharegpt: bool) -> Turn:
    if not isinstance(message, dict):
        raise BadRecordError(f"message {place} is not an object")
    role = (_SPEAKERS if sharegpt else _ROLES).get(str(message.get("from" if sharegpt else "role")))
    if role is None:
        names = "system, human or gpt" if sharegpt else "system, user or assistant"
        raise BadRecordError(f"message {place} has a role that is not {names}")
    return Turn(role, _text(message, "value" if sharegpt else "content"))


def _text(value: dict[str, Any], name: str, *, required: bool = True) -> str:
    text = value.get(name)
    if text is None and not required:
        return ""
    if not isinstance(text, str):
        raise BadRecordError(f"{name!r} is missing" if text is None else f"{name!r} is not a text")
    if required and not text.strip():
        raise BadRecordError(f"{name!r} is empty")
    try:
        text.encode()
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell and no tokenizer takes
        raise BadRecordError(f"{name!r} is not Unicode text") from None
    return text


def _label(value: dict[str, Any], name: str) -> str:
    """A category's name, which in some files is a number; none for anything else, since nothing is trained on it."""
    label = value.get(name)
    if isinstance(label, int | float) and not isinstance(label, bool):
        return str(label)
    return _text(value, name, required=False) if isinstance(label, str) else ""


def shown(text: str) -> str:
    """A file's own word as it may stand in a message: short, and without what a terminal would obey."""
    short = text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"
    return "".join(character if character.isprintable() else "�" for character in short)
