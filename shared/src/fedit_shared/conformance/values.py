"""How a vector file writes bytes, numbers and arrays; see the package's docstring."""

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

Result = dict[str, Any]
LARGEST = 1 << 26
"""Of what a case may ask to be made: bytes, words, values."""


class Inputs:
    """A case's inputs by name. A value that is absent or of another type raises ValueError."""

    def __init__(self, given: Mapping[str, Any], case: Mapping[str, Any]) -> None:
        self._given, self._case = given, case

    def __contains__(self, name: str) -> bool:
        return name in self._case or name in self._given

    def value(self, name: str) -> Any:
        """As it stands in the file."""
        if name not in self:
            raise ValueError(f"the case has no input {name}")
        return self._case[name] if name in self._case else self._given[name]

    def raw(self, name: str) -> bytes:
        """Bytes."""
        return self._raw(self.value(name))

    def raws(self, name: str) -> list[bytes]:
        """A list of bytes."""
        return [self._raw(value) for value in self.value(name)]

    def integer(self, name: str) -> int:
        """A whole number."""
        return _integer(self.value(name))

    def integers(self, name: str) -> list[int]:
        """A list of whole numbers."""
        return [_integer(value) for value in self.value(name)]

    def size(self, name: str) -> int:
        """A whole number of things that are to be made."""
        return _size(self.value(name))

    def sizes(self, name: str) -> list[int]:
        """A list of such numbers; so is their sum."""
        sizes = [_size(value) for value in self.value(name)]
        _size(sum(sizes))
        return sizes

    def number(self, name: str) -> float:
        """A float64."""
        return float(self.value(name))

    def text(self, name: str) -> str:
        """Text."""
        return str(self.value(name))

    def part(self, name: str) -> "Inputs":
        """An object inside, as inputs of its own that may also refer to given values."""
        return Inputs(self._given, {**self._case, **self.value(name)})

    def parts(self, name: str) -> list["Inputs"]:
        """A list of such objects."""
        return [Inputs(self._given, {**self._case, **value}) for value in self.value(name)]

    def _raw(self, value: Any) -> bytes:
        if isinstance(value, str):
            return bytes.fromhex(value)
        if "repeat" in value:
            pattern, size = bytes.fromhex(value["repeat"]), _size(value["size"])
            return (pattern * (size // len(pattern) + 1))[:size]
        base: Any = {**self._case, **self._given}
        for step in value["of"].split("."):
            base = base[int(step)] if isinstance(base, list) else base[step]
        changed = bytearray(self._raw(base))
        for offset, data in value.get("put", ()):
            changed[offset : offset + len(data) // 2] = bytes.fromhex(data)
        size = _size(value.get("size", len(changed)))
        return bytes(changed[:size]).ljust(size, b"\0")


def _integer(value: Any) -> int:
    if type(value) is not int:
        raise ValueError(f"{value!r:.40} is no whole number")
    return value


def _size(value: Any) -> int:
    if not 0 <= _integer(value) <= LARGEST:
        raise ValueError(f"{value} is no size from 0 to {LARGEST}")
    return int(value)


def digest(array: NDArray[Any]) -> Result:
    """A long array's length, element size, SHA-256 and beginning."""
    flat = np.ascontiguousarray(array).reshape(-1)
    flat = flat.astype(flat.dtype.newbyteorder("<"))
    return {
        "count": flat.size,
        "bytes": flat.itemsize,
        "sha256": sha256(flat.tobytes()).hexdigest(),
        "first": flat[:4].tolist(),
    }


def words(raw: bytes) -> NDArray[np.uint32]:
    """Words of 32 bits, little-endian."""
    return np.frombuffer(raw, "<u4")


def plain(value: Any) -> Any:
    """``value`` as JSON has it: bytes in hex, tuples as lists."""
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    if isinstance(value, Mapping):
        return {key: plain(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return value
