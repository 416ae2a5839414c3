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
        return _decoder(kind).decode(data)
    except UNREADABLE as error:
        raise ProtocolError(f"A message could not be read: {error}.") from error


def decode_task(task: bytes) -> TaskSpec:
    """The task in ``task``."""
    return decode(task, TaskSpec)


def decode_settings(settings: bytes, task: TaskSpec) -> RoundSettings:
    """The round's settings in ``settings``; they must fit the task."""
    decoded = decode(settings, RoundSettings)
    if len(decoded.clip) != len(task.tensors) or decoded.model != task.model.id:
        raise ProtocolError("The round's settings do not belong to the task.")
    return decoded


@cache
def _decoder(kind: Any) -> msgspec.msgpack.Decoder[Any]:
    return msgspec.msgpack.Decoder(kind)
