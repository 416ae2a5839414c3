"""The hash that goes with each event: neither SQLite nor PostgreSQL notices a changed bit in a row by itself."""

import struct
from hashlib import sha256

_FIXED = struct.Struct("<Qd")


def chained(head: bytes, round: int, time: float, kind: str, body: bytes) -> bytes:
    """Of an event, and of all the round's events before it, whose last one has the digest ``head`` (none: empty)."""
    return sha256(head + _FIXED.pack(round, time) + kind.encode() + b"\0" + body).digest()
