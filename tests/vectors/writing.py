"""How the generator writes cases; the format is that of fedit_shared.conformance, whose code is not used here."""

import hashlib
import struct
from typing import Any

Case = dict[str, Any]


def seeded(*parts: object, size: int = 32) -> bytes:
    """Bytes that depend on ``parts`` alone."""
    return hashlib.shake_256(repr(parts).encode()).digest(size)


def plain(value: Any) -> Any:
    """Bytes in hex, tuples as lists."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value


def accepted(name: str, kind: str, out: dict[str, Any] | None = None, **inputs: Any) -> Case:
    return {"name": name, "kind": kind, "in": plain(inputs), "out": plain(out or {"accepted": True})}


def refused(name: str, kind: str, error: str, **inputs: Any) -> Case:
    return {"name": name, "kind": kind, "in": plain(inputs), "error": error}


def digest(values: list[int] | list[float], form: str = "I") -> dict[str, Any]:
    """``form``: struct's letter for an element."""
    packed = struct.pack(f"<{len(values)}{form}", *values)
    return {
        "count": len(values),
        "bytes": struct.calcsize(f"<{form}"),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "first": list(struct.unpack(f"<{min(len(values), 4)}{form}", packed[: 4 * struct.calcsize(f"<{form}")])),
    }


def change(path: str, offset: int, data: bytes, size: int | None = None) -> dict[str, Any]:
    """A given value with bytes overwritten, then cut off or filled up."""
    changed: dict[str, Any] = {"of": path, "put": [[offset, data.hex()]]}
    return changed if size is None else {**changed, "size": size}


def resize(path: str, size: int) -> dict[str, Any]:
    return {"of": path, "size": size}


def float32(values: list[float]) -> list[float]:
    return list(struct.unpack(f"<{len(values)}f", struct.pack(f"<{len(values)}f", *values)))
