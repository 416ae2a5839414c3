"""A LoRA adapter as a manifest (names and shapes, sorted by name) and one flat float32 vector.

The file format is PEFT's ``adapter_model.safetensors``. Files of any LoRA may come in, in float16, bfloat16 or
float32; what goes out is always float32, laid out in one way only, so that an adapter's SHA-256 names its values.
Everything is checked against the bytes that are there before anything is allocated.
"""

import hashlib
import json
import math
import re
import struct
from collections.abc import Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import ProtocolError
from .messages.task import MAX_VALUES, TensorSpec

CONFIG_NAME = "adapter_config.json"
FILE_NAME = "adapter_model.safetensors"
MAX_TENSORS = 65536
_MAX_HEADER = 16 * 2**20
_MAX_NAME = 400
_LENGTH = struct.Struct("<Q")
_WIDTH = {"F16": 2, "BF16": 2, "F32": 4}
_NAME = re.compile(r"[\w.-]{1,400}")
_NAMING = ("target_modules", "exclude_modules", "layers_pattern", "rank_pattern", "alpha_pattern", "modules_to_save")
_ADVICE = "It has to be a LoRA adapter as PEFT saves it (adapter_model.safetensors)."

Manifest = tuple[TensorSpec, ...]


def read_adapter(data: bytes) -> tuple[Manifest, NDArray[np.float32]]:
    """Manifest and values, float32[n], of a safetensors file in F16, BF16 or F32.

    Raises ProtocolError for a file that is cut off, has gaps, overlaps or trailing bytes, holds other dtypes, is too
    large, or has values that are not finite.
    """
    header, body = _split(data)
    entries = sorted((name, *_entry(name, entry)) for name, entry in header.items() if name != "__metadata__")
    if not entries or len(entries) > MAX_TENSORS:
        raise _bad(f"it holds {len(entries)} tensors")
    _check_layout([(start, end) for *_, start, end in entries], len(body))
    manifest = tuple(TensorSpec(name=name, shape=shape) for name, _, shape, _, _ in entries)
    if size(manifest) > MAX_VALUES:
        raise _bad(f"it holds {size(manifest)} values; {MAX_VALUES} are allowed")
    vector = np.empty(size(manifest), np.float32)
    place = 0
    for name, dtype, shape, start, end in entries:
        count = math.prod(shape)
        vector[place : place + count] = _widen(body[start:end], dtype)
        if not np.isfinite(vector[place : place + count]).all():
            raise _bad(f"{name} has values that are not finite")
        place += count
    return manifest, vector


def write_adapter(tensors: Sequence[TensorSpec], vector: NDArray[np.float32]) -> bytes:
    """The safetensors file of ``vector`` in float32: the same bytes for the same values, always.

    ``vector`` float32[n] in the order of ``tensors``. Raises ProtocolError if the sizes differ.
    """
    _check_size(tensors, vector)
    return b"".join((_header(tensors), np.ascontiguousarray(vector, "<f4").data))


def file_size(tensors: Sequence[TensorSpec]) -> int:
    """Bytes of the file that :func:`write_adapter` makes of these tensors."""
    return len(_header(tensors)) + 4 * size(tensors)


def version(data: bytes) -> bytes:
    """An adapter's version: SHA-256 of its file as :func:`write_adapter` makes it."""
    return hashlib.sha256(data).digest()


def size(tensors: Sequence[TensorSpec]) -> int:
    """Number of values."""
    return sum(tensor.size for tensor in tensors)


def check_fits(expected: Sequence[TensorSpec], found: Sequence[TensorSpec]) -> None:
    """Raises ProtocolError, naming the first difference, unless both manifests are the same."""
    for want, have in zip_longest(expected, found):
        if want == have:
            continue
        if want is None or (have is not None and have.name < want.name):
            raise ProtocolError(f"The adapter has a tensor {have.name} that was not expected.")
        if have is None or want.name < have.name:
            raise ProtocolError(f"The adapter has no tensor {want.name}.")
        raise ProtocolError(f"The adapter's {want.name} is of shape {list(have.shape)}, not {list(want.shape)}.")


def read_config(data: bytes) -> str:
    """The text of an ``adapter_config.json``, checked to be that of a LoRA. Raises ProtocolError, also for one with
    patterns: PEFT takes some fields for regular expressions, and one can be written that never ends."""
    if len(data) > 2**16:
        raise ProtocolError(f"{CONFIG_NAME} is too large.", advice=_ADVICE)
    try:
        text = data.decode()
        config = json.loads(text)
        kind = config.get("peft_type")
    except (ValueError, AttributeError, RecursionError) as error:
        raise ProtocolError(f"{CONFIG_NAME} is no JSON object.", advice=_ADVICE) from error
    if kind != "LORA":
        raise ProtocolError(f"{CONFIG_NAME} is of an adapter of type {kind}, not LORA.", advice=_ADVICE)
    for field in _NAMING:
        names = config.get(field) or []
        if names == "all-linear":
            continue
        if not isinstance(names, list | dict) or not all(
            isinstance(name, str) and _NAME.fullmatch(name) for name in names
        ):
            raise ProtocolError(
                f"{CONFIG_NAME} has a {field} that is no list of names.",
                advice="Name the layers one by one; patterns are not taken.",
            )
    return text


def _header(tensors: Sequence[TensorSpec]) -> bytes:
    """What comes before the values, in float32."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in tensors:
        end = start + 4 * tensor.size
        header[tensor.name] = {"dtype": "F32", "shape": list(tensor.shape), "data_offsets": [start, end]}
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)  # the format wants the values aligned
    return _LENGTH.pack(len(text)) + text


def _split(data: bytes) -> tuple[dict[str, Any], memoryview]:
    if len(data) < _LENGTH.size:
        raise _bad("it is cut off")
    length = _LENGTH.unpack_from(data)[0]
    if length > min(_MAX_HEADER, len(data) - _LENGTH.size):
        raise _bad("it is cut off, or no safetensors file")
    start = _LENGTH.size + length
    try:
        header = json.loads(data[_LENGTH.size : start].decode(), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise _bad("its header is not readable") from error
    if not isinstance(header, dict):
        raise _bad("its header is not readable")
    return header, memoryview(data)[start:]


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name occurs twice")
    return value


def _entry(name: str, entry: Any) -> tuple[str, tuple[int, ...], int, int]:
    """dtype, shape, start and end of one tensor, consistent in themselves."""
    try:
        dtype, shape, (start, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        whole = all(type(number) is int and number >= 0 for number in (*shape, start, end))
    except (TypeError, KeyError, ValueError) as error:
        raise _bad(f"the entry of {name[:_MAX_NAME]} is not readable") from error
    if dtype not in _WIDTH:
        raise _bad(f"{name[:_MAX_NAME]} is of type {dtype[:20]}; F16, BF16 and F32 are read")
    if len(name) > _MAX_NAME or not name.isprintable():
        raise _bad(f"a tensor has the name {name[:_MAX_NAME]!r}, which cannot be one")
    if not whole or not 1 <= len(shape) <= 4 or not all(1 <= n <= 2**31 for n in shape):
        raise _bad(f"the entry of {name[:_MAX_NAME]} is out of bounds")
    if end - start != math.prod(shape) * _WIDTH[dtype]:
        raise _bad(f"{name} has {end - start} bytes, not those of its shape")
    return dtype, shape, start, end


def _check_layout(spans: list[tuple[int, int]], length: int) -> None:
    """The tensors have to fill the body exactly: no gap hides bytes, no overlap inflates them."""
    place = 0
    for start, end in sorted(spans):
        if start != place:
            raise _bad("its tensors overlap or leave gaps")
        place = end
    if place != length:
        raise _bad(f"it has {length} bytes of values, its header says {place}")


def _widen(raw: memoryview, dtype: str) -> NDArray[np.float32]:
    if dtype == "BF16":  # the upper half of a float32
        return (np.frombuffer(raw, "<u2").astype(np.uint32) << 16).view(np.float32)
    return np.frombuffer(raw, "<f2" if dtype == "F16" else "<f4").astype(np.float32)


def _check_size(tensors: Sequence[TensorSpec], vector: NDArray[np.float32]) -> None:
    if vector.shape != (size(tensors),):
        raise ProtocolError(f"The adapter has {size(tensors)} values, the vector {vector.size}.")


def _bad(reason: str) -> ProtocolError:
    return ProtocolError(f"This adapter cannot be used: {reason}.", advice=_ADVICE)
