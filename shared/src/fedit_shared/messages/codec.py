"""msgpack in and out. Decoding refuses wrong types, unknown fields, values out of bounds and trailing bytes."""

from functools import cache
from types import UnionType
from typing import Any, TypeVar, overload

import msgspec

from fedit_shared.errors import ProtocolError

from .task import RoundSettings, TaskSpec

T = TypeVar("T")
_ENCODER = msgspec.msgpack.Encoder()
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes, msgpack or JSON, that are not what was expected."""


def encode(message: msgspec.Struct) -> bytes:
    """``message`` as msgpack."""
    return _ENCODER.encode(message)


@overload
def decode(data: bytes, kind: type[T]) -> T: ...
@overload
def decode(data: bytes, kind: UnionType) -> Any: ...
def decode(data: bytes, kind: Any) -> Any:
    """``data`` as a ``kind`` (a message, or a union of messages). Raises ProtocolError for anything else."""
    try:
        decoded = _decoder(kind).decode(data)
        twice = _repeats_a_name(data)
    except UNREADABLE as error:
        raise ProtocolError(f"A message could not be read: {error}.") from error
    if twice:
        raise ProtocolError("A message could not be read: a map in it has a name twice.")
    return decoded


def decode_task(task: bytes) -> TaskSpec:
    """The task in ``task``."""
    return decode(task, TaskSpec)


def decode_settings(settings: bytes, task: TaskSpec) -> RoundSettings:
    """The round's settings in ``settings``; they must fit the task."""
    decoded = decode(settings, RoundSettings)
    if len(decoded.clip) != len(task.tensors) or decoded.model != task.model.id:
        raise ProtocolError("The round's settings do not belong to the task.")
    return decoded


def _repeats_a_name(data: bytes) -> bool:
    """Whether a map in ``data``, msgpack that could be read, names something twice: two implementations could read
    different values of it, under one hash. msgspec takes the last one."""
    view = memoryview(data)
    size = _SIZES.get(view[0])
    if size is None:
        return False
    count = view[0] & 0x0F if size == 0 else int.from_bytes(view[1 : 1 + size])
    if view[0] in _LISTS:
        # what a list of ours holds is all of one kind
        return count > 0 and view[1 + size] in _SIZES and any(map(_repeats_a_name, _LIST.decode(view)))
    inside = _MAP.decode(view)
    return len(inside) < count or any(map(_repeats_a_name, inside.values()))


_LISTS = {**dict.fromkeys(range(0x90, 0xA0), 0), 0xDC: 2, 0xDD: 4}
"""First byte → bytes of the count that follow it; 0: it is in the first byte."""
_SIZES = {**dict.fromkeys(range(0x80, 0x90), 0), 0xDE: 2, 0xDF: 4, **_LISTS}
"""The same for maps and lists."""
_MAP = msgspec.msgpack.Decoder(dict[str, msgspec.Raw])
_LIST = msgspec.msgpack.Decoder(list[msgspec.Raw])


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
