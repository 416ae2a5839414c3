"""A model's stored weights, each read from disk when it is asked for and never mapped.

transformers maps the files: on a CPU the pages it has read stay resident, as many bytes as the model in full precision.
"""

from pathlib import Path
from typing import Any

import msgspec
from safetensors import safe_open

from fedit_shared.messages import UNREADABLE

_SINGLE = "model.safetensors"
_INDEX = "model.safetensors.index.json"


class _Index(msgspec.Struct, frozen=True):
    weight_map: dict[str, str]
    """Tensor → file."""


class StoredTensor:
    """A tensor in a safetensors file; ``[...]`` reads it."""

    def __init__(self, file: Any, name: str) -> None:
        self._file = file
        self._name = name

    def __getitem__(self, place: Any) -> Any:
        return self._file.get_slice(self._name)[place]

    def __deepcopy__(self, memo: Any) -> "StoredTensor":
        return self  # transformers copies its arguments


def stored_weights(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of the model in ``folder``, by its name there. Raises OSError, ValueError and SafetensorError."""
    weights: dict[str, StoredTensor] = {}
    for path in weight_files(folder):
        file: Any = safe_open(path, framework="pt", device="cpu", backend="pread")
        weights |= {name: StoredTensor(file, name) for name in file.offset_keys()}
    return weights


def weight_files(folder: Path) -> list[Path]:
    """The files that transformers would take: others may lie beside them. Raises OSError and ValueError."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    if not (folder / _INDEX).is_file():
        raise OSError(f"it has neither {_SINGLE} nor {_INDEX}")
    try:
        names = set(msgspec.json.decode((folder / _INDEX).read_bytes(), type=_Index).weight_map.values())
    except UNREADABLE as error:
        raise ValueError(f"{_INDEX} is no index: {error}") from error
    if odd := [name for name in names if Path(name).name != name or name in ("", "..")]:
        raise ValueError(f"{_INDEX} names {odd[0]!r}, which is no file of this folder")
    return [folder / name for name in sorted(names)]
