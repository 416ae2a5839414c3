"""A small valid value of any type that msgspec reads: a seed for a record that was added yesterday, too."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
from msgspec import inspect

VECTORS = Path(__file__).parents[2] / "vectors"


def samples(*kinds: type) -> Iterator[Any]:
    """Of each of ``kinds`` (structs), one with every optional field left out, and one with every field."""
    for kind in kinds:
        for whole in (False, True):
            yield msgspec.convert(_sample(inspect.type_info(kind), whole), kind)


def _sample(kind: Any, whole: bool) -> Any:
    match kind:
        case inspect.StructType():
            given = {field.encode_name: _sample(field.type, whole) for field in kind.fields if whole or field.required}
            return given if kind.tag is None else {kind.tag_field: kind.tag, **given}
        case inspect.UnionType():
            chosen = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
            return _sample(chosen[0], whole) if whole or len(chosen) == len(kind.types) else None
        case inspect.LiteralType():
            return sorted(kind.values, key=str)[0]
        case inspect.IntType():
            return max(kind.ge or 0, 1 if kind.gt is None else kind.gt + 1)
        case inspect.FloatType():
            return max(kind.ge or 0.0, min(0.5, kind.le or 0.5, kind.lt or 0.5))
        case inspect.BoolType():
            return whole
        case inspect.BytesType():
            return bytes(kind.min_length or 4)
        case inspect.StrType():
            return "text"
        case inspect.DictType():
            return {_sample(kind.key_type, whole): _sample(kind.value_type, whole)}
        case inspect.VarTupleType() | inspect.ListType():
            return [_sample(kind.item_type, whole)] * 2
        case inspect.TupleType():
            return [_sample(part, whole) for part in kind.item_types]
        case inspect.NamedTupleType():
            return [_sample(field.type, whole) for field in kind.fields]
        case inspect.CustomType():
            return "20s"
        case _:
            raise TypeError(f"no sample of {kind}")


@cache
def cases(file: str) -> list[dict[str, Any]]:
    """The cases of a vector file."""
    found: list[dict[str, Any]] = msgspec.json.decode((VECTORS / f"{file}.json").read_bytes())["cases"]
    return found


def inputs(file: str, kind: str, name: str, **chosen: str) -> list[bytes]:
    """The bytes that the cases of ``kind`` have under ``name``, those that are to be refused too."""
    return [
        bytes.fromhex(case["in"][name])
        for case in cases(file)
        if case["kind"] == kind and isinstance(case["in"][name], str) and chosen.items() <= case["in"].items()
    ]
