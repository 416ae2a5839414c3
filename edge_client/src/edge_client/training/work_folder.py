"""What a job leaves on disk: its checkpoint and its result. Methods raise DiskError."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import filelock
import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from edge_client.disk import Disk, disk_errors
from fedit_shared.errors import UserError
from fedit_shared.messages import UNREADABLE

from .events import Finished
from .footprint import BLOCK, Way

_CHECKPOINT = "checkpoint.safetensors"
_RESULT = "result.msgpack"
_DELTA = "delta.f32"
_PRIVATE = "private.f32"
_LOCK = "lock"
_DAMAGE = (SafetensorError, *UNREADABLE, KeyError, TypeError, ValueError)
"""What reading a file raises that is no checkpoint, or a torn one."""
_WAIT = 60.0
"""Seconds that a child waits for its predecessor, which may be saving its last state."""


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """How far the training is. Sums count from the job's start."""

    step: int = 0
    """Finished steps."""
    done: int = 0
    """Records of the next step whose gradient is in ``gradient`` already."""
    step_loss: float = 0.0
    """Sum over those records' learned tokens."""
    loss: float = 0.0
    """Sum over the learned tokens of the finished steps."""
    learned: int = 0
    """Tokens that carried loss, of the finished steps."""
    seconds: float = 0.0
    """Of training, over all runs."""
    way: Way | None = None
    """How it was done: another way sums in another order, which rounds otherwise."""


Vector = NDArray[np.float32 | np.uint8]
"""As it lies in a checkpoint."""


class Checkpoint(NamedTuple):
    """A position and the vectors that belong to it, of the adapter's size: ``adapter`` and ``gradient`` (the sum so
    far of the step in progress), float32, and an :data:`.optimizer.State`. What comes from the disk is read vector by
    vector, when it is asked for: memory may be short."""

    position: Position
    vectors: Mapping[str, Vector]


class _Stored(Mapping[str, Vector]):
    """The vectors in a safetensors file."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def __getitem__(self, name: str) -> Vector:
        vector: Vector = self._file.get_tensor(name)
        return vector

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.offset_keys())

    def __len__(self) -> int:
        return len(self._file.offset_keys())


class _Result(msgspec.Struct, frozen=True):
    key: bytes
    finished: Finished


S = TypeVar("S", bound=msgspec.Struct)


class WorkFolder:
    """The folder of one job, named by ``key`` (32 bytes): what it holds of other jobs does not count."""

    def __init__(self, path: str, key: bytes) -> None:
        self._path = Path(path)
        self._key = key
        self._disk = Disk()
        with disk_errors(self._path):
            self._disk.make(self._path)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """One child at a time: a second one waits for the first, which may be stopping. Raises UserError if it is not
        gone after _WAIT seconds."""
        try:
            lock = filelock.FileLock(self._path / _LOCK, timeout=_WAIT).acquire()
        except filelock.Timeout as error:
            raise UserError(
                f"Another process is training in {self._path}.", advice="Wait for its end, or stop it."
            ) from error
        with lock:
            yield

    def result(self) -> Finished | None:
        """The job's result, if it is finished."""
        held = _decode(self._disk.read(self._path / _RESULT) or b"", _Result)
        if held is None or held.key != self._key:
            return None
        delta, private = self._path / _DELTA, self._path / _PRIVATE
        if not delta.is_file() or (held.finished.private_path is not None and not private.is_file()):
            return None
        return self._located(held.finished, private=held.finished.private_path is not None)

    def finish(self, delta: NDArray[np.float32], private: NDArray[np.float32], finished: Finished) -> Finished:
        """Write the result and drop the checkpoint. At no time does a result stand beside another's delta."""
        self._disk.remove(self._path / _RESULT)
        self._write(_DELTA, delta)
        if private.size:
            self._write(_PRIVATE, private)
        finished = self._located(finished, private=private.size > 0)
        self._disk.write(self._path / _RESULT, msgspec.msgpack.encode(_Result(self._key, finished)))
        self._disk.remove(self._path / _CHECKPOINT)
        return finished

    def _write(self, name: str, vector: NDArray[np.float32]) -> None:
        with self._disk.stream(self._path / name) as file:
            file.write(vector.astype("<f4", copy=False).data)

    def _located(self, finished: Finished, *, private: bool) -> Finished:
        """``finished``, naming this folder's files."""
        return msgspec.structs.replace(
            finished,
            delta_path=str(self._path / _DELTA),
            private_path=str(self._path / _PRIVATE) if private else None,
        )

    def way(self) -> Way | None:
        """How the job was done up to its last checkpoint, whose vectors are not read; None without one."""
        found = self._open()
        return None if found is None else found[1].way

    def checkpoint(self, size: int) -> Checkpoint | None:
        """The job's last checkpoint, with vectors of ``size`` values, or None. A damaged one counts as none."""
        found = self._open()
        if found is None or not _fits(found[0], size):
            return None
        return Checkpoint(found[1], _Stored(found[0]))

    def _open(self) -> tuple[Any, Position] | None:
        """The checkpoint's file, and what its header says; None if there is none of this job, or it is torn."""
        with disk_errors(self._path):
            try:  # read, not mapped: mapped pages would stay resident
                file: Any = safe_open(self._path / _CHECKPOINT, framework="np", backend="pread")
                metadata = file.metadata()
                if bytes.fromhex(metadata["key"]) != self._key:
                    return None
                return file, msgspec.json.decode(metadata["position"], type=Position)
            except (FileNotFoundError, *_DAMAGE):
                return None

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint. It needs no memory: safetensors' own writer would copy everything, twice."""
        position = msgspec.json.encode(checkpoint.position).decode()
        entries: dict[str, Any] = {"__metadata__": {"key": self._key.hex(), "position": position}}
        end = 0
        for name, vector in checkpoint.vectors.items():
            start, end = end, end + vector.nbytes
            entries[name] = {"dtype": _DTYPES[vector.dtype.str], "shape": vector.shape, "data_offsets": (start, end)}
        header = msgspec.json.encode(entries)
        with self._disk.stream(self._path / _CHECKPOINT) as file:
            file.write(len(header).to_bytes(8, "little") + header)
            for vector in checkpoint.vectors.values():
                file.write(np.ascontiguousarray(vector).data)


_DTYPES = {"<f4": "F32", "|u1": "U8"}


def _fits(file: Any, size: int) -> bool:
    """Whether a file's vectors are a checkpoint's for ``size`` values."""
    found = {
        name: (part.get_dtype(), part.get_shape()) for name in file.offset_keys() if (part := file.get_slice(name))
    }
    whole: dict[str, tuple[str, list[int]]] = dict.fromkeys(("adapter", "gradient"), ("F32", [size]))
    full = whole | dict.fromkeys(("mean", "square"), ("F32", [size]))
    narrow = whole | dict.fromkeys(("mean", "square"), ("U8", [size]))
    narrow |= dict.fromkeys(("mean_scales", "square_scales"), ("F32", [-(-size // BLOCK)]))
    return found in (full, narrow)


def _decode(data: bytes, kind: type[S]) -> S | None:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except UNREADABLE:
        return None
