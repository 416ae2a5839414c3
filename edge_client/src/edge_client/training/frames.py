"""How the client and its children talk: msgpack values, each after its length, over the child's stdin and stdout.

The child takes its stdout for itself before anything else is imported and sends everybody who prints (libraries,
progress bars, the allocator) to stderr, so that no chatter can stand between two frames.
"""

import struct
from typing import BinaryIO

import msgspec

from fedit_shared.errors import ProtocolError

MAX_FRAME = 64 * 2**20
_LENGTH = struct.Struct("<I")
_ENCODER = msgspec.msgpack.Encoder()


def frame(message: object) -> bytes:
    """``message`` (a msgspec Struct) as one frame. Raises ProtocolError past MAX_FRAME bytes."""
    body = _ENCODER.encode(message)
    if len(body) > MAX_FRAME:
        raise ProtocolError(f"A message to or from a child process has {len(body)} bytes; {MAX_FRAME} are allowed.")
    return _LENGTH.pack(len(body)) + body


def length(header: bytes) -> int:
    """The body's length that the 4 bytes of ``header`` announce. Raises ProtocolError past MAX_FRAME."""
    size: int = _LENGTH.unpack(header)[0]
    if size > MAX_FRAME:
        raise ProtocolError(f"A child process announced a message of {size} bytes; {MAX_FRAME} are allowed.")
    return size


def read_frame(stream: BinaryIO) -> bytes | None:
    """The next frame's body, or None at the end of ``stream`` (a frame cut off there is no frame)."""
    header = stream.read(_LENGTH.size)
    if len(header) < _LENGTH.size:
        return None
    size = length(header)
    body = stream.read(size)
    return body if len(body) == size else None
