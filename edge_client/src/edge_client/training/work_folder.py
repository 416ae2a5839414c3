"""What a job leaves on disk: its checkpoint and its result. Methods raise DiskError."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import filelock
import msgspec
import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors import numpy as safetensors

from edge_client.disk import Disk, disk_errors
from fedit_shared.errors import UserError

from .events import Finished
from .footprint import BLOCK, Way

_CHECKPOINT = "checkpoint.safetensors"
_RESULT = "result.msgpack"
_DELTA = "delta.f32"
_PRIVATE = "private.f32"
_LOCK = "lock"
_DAMAGE = (SafetensorError, msgspec.MsgspecError, KeyError, TypeError, ValueError)
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


class Checkpoint(msgspec.Struct, frozen=True, kw_only=True):
    """A position and the vectors that belong to it, of the adapter's size: ``adapter`` and ``gradient`` (the sum so
    far of the step in progress), float32, and an :data:`.optimizer.State`."""

    position: Position
    vectors: Mapping[str, NDArray[np.float32 | np.uint8]]


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
        self._disk.write(self._path / _DELTA, delta.astype("<f4", copy=False).tobytes())
        if private.size:
            self._disk.write(self._path / _PRIVATE, private.astype("<f4", copy=False).tobytes())
        finished = self._located(finished, private=private.size > 0)
        self._disk.write(self._path / _RESULT, msgspec.msgpack.encode(_Result(self._key, finished)))
        self._disk.remove(self._path / _CHECKPOINT)
        return finished

    def _located(self, finished: Finished, *, private: bool) -> Finished:
        """``finished``, naming this folder's files."""
        return msgspec.structs.replace(
            finished,
            delta_path=str(self._path / _DELTA),
            private_path=str(self._path / _PRIVATE) if private else None,
        )

    def way(self) -> Way | None:
        """How the job was done up to its last checkpoint, whose vectors are not read; None without one."""
        with disk_errors(self._path):
            try:
                file: Any = safe_open(self._path / _CHECKPOINT, framework="np")
                with file:
                    return self._position(file.metadata()).way
            except (FileNotFoundError, *_DAMAGE):
                return None

    def checkpoint(self, size: int) -> Checkpoint | None:
        """The job's last checkpoint, with vectors of ``size`` values, or None. A damaged one counts as none."""
        data = self._disk.read(self._path / _CHECKPOINT) or b""
        try:
            header = msgspec.json.decode(data[8 : 8 + int.from_bytes(data[:8], "little")])["__metadata__"]
            vectors = safetensors.load(data)
            position = self._position(header)
        except _DAMAGE:
            return None
        return Checkpoint(position=position, vectors=vectors) if _fits(vectors, size) else None

    def _position(self, metadata: Mapping[str, str]) -> Position:
        """What a checkpoint's header says. Raises ValueError for another job's."""
        if bytes.fromhex(metadata["key"]) != self._key:
            raise ValueError("another job's checkpoint")
        return msgspec.json.decode(metadata["position"], type=Position)

    def save(self, checkpoint: Checkpoint) -> None:
        """Replace the checkpoint."""
        position = msgspec.json.encode(checkpoint.position).decode()
        metadata = {"key": self._key.hex(), "position": position}
        self._disk.write(self._path / _CHECKPOINT, safetensors.save(dict(checkpoint.vectors), metadata))


def _fits(vectors: Mapping[str, NDArray[np.generic]], size: int) -> bool:
    """Whether these are a checkpoint's vectors for ``size`` values."""
    blocks = -(-size // BLOCK)
    whole = {name: each for name, each in vectors.items() if not name.endswith("_scales")}
    narrow = whole.keys() & {name for name, each in whole.items() if each.dtype == np.uint8}
    scales = {f"{name}_scales" for name in narrow}
    return (
        whole.keys() == {"adapter", "gradient", "mean", "square"}
        and narrow <= {"mean", "square"}
        and vectors.keys() - whole.keys() == scales
        and all(each.shape == (size,) for each in whole.values())
        and all(vectors[name].shape == (blocks,) for name in scales)
    )


def _decode(data: bytes, kind: type[S]) -> S | None:
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError:
        return None
