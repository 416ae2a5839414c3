"""Safetensors files that carry the hash of their own tensors, so that damage shows wherever they are read."""

import json
from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import CorruptError

Tensors = Mapping[str, NDArray[Any]]
_HASH = "sha256"
_LENGTH_BYTES = 8


def save_hashed(tensors: Tensors) -> bytes:
    """The file; its metadata has the SHA-256 of names, types, shapes and values."""
    return save(dict(tensors), metadata={_HASH: _digest(tensors)})


def load_hashed(data: bytes) -> dict[str, NDArray[Any]]:
    """What :func:`save_hashed` saved. Raises CorruptError for anything else."""
    try:
        tensors = load(data)
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        told = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])["__metadata__"][_HASH]
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CorruptError("A file of tensors is damaged.") from error
    if told != _digest(tensors):
        raise CorruptError("A file of tensors is not what was written.")
    return tensors


def _digest(tensors: Tensors) -> str:
    digest = sha256()
    for name in sorted(tensors):
        array = np.ascontiguousarray(tensors[name])
        digest.update(f"{name}\0{array.dtype.str}\0{array.shape}\0".encode())
        digest.update(array.data)
    return digest.hexdigest()
