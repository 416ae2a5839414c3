"""Inputs that are nearly right: a few changes of one that is."""

from collections.abc import Iterator
from random import Random
from typing import Any

from .forms import Form

_ODD: tuple[Any, ...] = (
    None, True, False, -1, 0, 1, 2, 255, 2**16, 2**31, 2**31 + 1, 2**40 + 1, 2**63 - 1, 2**63, 2**64 - 1, -(2**63),
    0.0, -0.0, 0.5, 1e-320, 1e300, float("inf"), float("nan"),
    "", "a", "x" * 401, "\x1b[2J", "two\nlines", "\u202e", "²", "é" * 200, "nan", "0", "-1", "../a", "/etc", "\ud800",
    b"", b"\0", bytes(16), bytes(32), bytes(64), bytes(4096),
    [], {}, [[]], [None], {"": None}, {"a": {}}, list(range(300)), [0, 1],
)  # fmt: skip
Place = tuple[Any, Any]
"""A dict or list, and a key in it."""


def mutated(random: Random, data: bytes, form: Form, others: list[bytes], longest: int) -> bytes:
    """``data`` with up to three changes, each of its tree or of its bytes. ``others``: inputs to take pieces from."""
    for _ in range(random.randint(1, 3)):
        changed = _in_tree(random, data, form) if random.random() < 0.6 else None
        data = _in_bytes(random, data, form, others) if changed is None else changed
    return data[:longest]


def _in_tree(random: Random, data: bytes, form: Form) -> bytes | None:
    try:
        tree = [form.open(data)]
        places = list(_places(tree))
        _change(random, *random.choice(places), places)
        return form.close(tree[0])
    except (ValueError, TypeError, OverflowError, LookupError, RecursionError, AttributeError):
        return None  # it is no such tree, or has become none that can be written


def _places(tree: Any) -> Iterator[Place]:
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)):
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key])


def _change(random: Random, parent: Any, key: Any, places: list[Place]) -> None:
    value = parent[key]
    match random.randrange(7):
        case 0:
            del parent[key]
        case 1 if isinstance(parent, dict):
            parent[random.choice(("", "extra", "\x1b[2J", "type", *parent))] = parent.pop(key)
        case 1:
            parent.insert(key, value)
        case 2:
            other, place = random.choice(places)
            parent[key] = other[place] if place in other or isinstance(other, list) else None
        case 3 if isinstance(value, int | float):
            parent[key] = value + random.choice((-1, 1, 256, -value, value))
        case 4 if isinstance(value, str | bytes) and value:
            cut = random.randrange(len(value))
            parent[key] = random.choice((value[:cut], value + value[cut:], value[cut:]))
        case 5:
            parent[key] = random.choice(([value], {"a": value}, str(value)))
        case _:
            parent[key] = random.choice(_ODD)


def _in_bytes(random: Random, data: bytes, form: Form, others: list[bytes]) -> bytes:
    at = random.randint(0, len(data))
    match random.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[random.randint(at, len(data)) :]
        case 2:
            return data[:at] + random.choice(form.tokens) + data[random.choice((at, len(data))) :]
        case 3:
            other = random.choice(others)
            return data[:at] + other[random.randint(0, len(other)) :]
        case 4:
            return data[:at] + random.randbytes(random.randint(1, 9)) + data[at:]
        case _:
            changed = bytearray(data)
            for _ in range(random.randint(1, 4) if data else 0):
                changed[random.randrange(len(changed))] = random.choice((0, 1, 127, 128, 255, random.randrange(256)))
            return bytes(changed)
