"""Uploads in chunks, resumable after a kill on either side.

A chunk is one or more pieces: as many as the line bears. An upload is a file of its full size from the start (so a full
disk shows at once) and beside it one byte for each piece: 1 once the piece is on disk. The piece is synced before its
byte is, so a 1 never lies. A piece is accepted again only with the same content.
"""

import contextlib
import os
import tempfile
from hashlib import sha256
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import ConflictError, ProtocolError
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE
from fedit_shared.parameters import DEGREE, PRIMES

from ..errors import storage_error
from .folders import make_folder, sync_folder

_HASH_STEP = 1 << 20


class Upload:
    """One device's masked vector of ``size`` bytes, a :class:`.kinds.Uploading`. Several processes may use one."""

    def __init__(self, file: Path, size: int) -> None:
        self._file = file
        self._marks = file.with_suffix(".pieces")
        self._size = size
        self._pieces = -(-size // PIECE_SIZE)

    def put(self, first: int, content: bytes) -> None:
        """The pieces from number ``first`` on, on disk when this returns. Raises ProtocolError for a chunk that this
        upload does not have, ConflictError for other content than before, UnavailableError if the disk refuses."""
        count = check_chunk(self._size, first, content)
        try:
            if not self._marks.exists():
                self._begin()
            with open(self._marks, "r+b") as marks, open(self._file, "r+b") as stream:
                held = os.pread(marks.fileno(), count, first)
                if any(held):
                    before = split(os.pread(stream.fileno(), len(content), first * PIECE_SIZE))
                    pairs = zip(before, split(content), strict=False)
                    if any(old != new for mark, (old, new) in zip(held, pairs, strict=False) if mark):
                        raise other_content(first)
                if all(held):
                    return
                os.pwrite(stream.fileno(), content, first * PIECE_SIZE)
                _sync(stream.fileno())
                os.pwrite(marks.fileno(), b"\1" * count, first)
                _sync(marks.fileno())
        except OSError as error:
            raise storage_error(error) from error

    def held(self) -> bytes:
        """Which pieces are on disk: bit i, little-endian bits."""
        return bits(self._read_marks())

    def complete(self) -> bool:
        """Whether all pieces are on disk."""
        return all(self._read_marks())

    def digest(self) -> bytes:
        """SHA-256 of the whole vector."""
        digest = sha256()
        with open(self._file, "rb") as stream:
            while block := stream.read(_HASH_STEP):
                digest.update(block)
        return digest.digest()

    def vector(self) -> NDArray[np.uint32]:
        """The vector, mapped from the file: uint32 (rows, 2, N)."""
        return as_vector(np.memmap(self._file, "<u4", "r"))

    def discard(self) -> None:
        """Forget all pieces; they can be sent again."""
        self._marks.unlink(missing_ok=True)
        self._file.unlink(missing_ok=True)

    def _begin(self) -> None:
        make_folder(self._file.parent)
        descriptor = os.open(self._file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, self._size)
            else:
                os.ftruncate(descriptor, self._size)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=self._file.parent)
        try:
            with open(descriptor, "wb") as marks:
                marks.write(bytes(self._pieces))
                marks.flush()
                os.fsync(marks.fileno())
            with contextlib.suppress(FileExistsError):  # another chunk of the same upload came first
                os.link(temporary, self._marks)
        finally:
            os.unlink(temporary)
        sync_folder(self._file.parent)

    def _read_marks(self) -> bytes:
        try:
            return self._marks.read_bytes()
        except FileNotFoundError:
            return bytes(self._pieces)


def check_chunk(size: int, first: int, content: bytes) -> int:
    """How many pieces of an upload of ``size`` bytes ``content`` is, from number ``first`` on. Raises ProtocolError."""
    pieces = -(-size // PIECE_SIZE)
    if not 0 <= first < pieces:
        raise ProtocolError(f"This upload has pieces 0 to {pieces - 1}, not {first}.")
    start = first * PIECE_SIZE
    most = min(CHUNK_SIZE - start % CHUNK_SIZE, size - start)
    if not 0 < len(content) <= most or (len(content) < most and len(content) % PIECE_SIZE):
        raise ProtocolError(
            f"From piece {first} on whole pieces of {PIECE_SIZE} bytes were expected, up to {most} bytes, "
            f"not {len(content)}."
        )
    return -(-len(content) // PIECE_SIZE)


def other_content(first: int) -> ConflictError:
    """A piece stays as it was first sent."""
    return ConflictError(f"Piece {first}, or one after it, was sent before with other content.")


def split(content: bytes) -> list[bytes]:
    """A chunk's pieces."""
    return [content[start : start + PIECE_SIZE] for start in range(0, len(content), PIECE_SIZE)]


def bits(marks: bytes) -> bytes:
    """A byte for each piece, 1 if it is held, as :meth:`.kinds.Uploading.held` tells it."""
    return np.packbits(np.frombuffer(marks, np.uint8), bitorder="little").tobytes()


def as_vector(words: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """An upload's words as (rows, 2, N)."""
    return words.reshape(-1, len(PRIMES), DEGREE)


def _sync(descriptor: int) -> None:
    getattr(os, "fdatasync", os.fsync)(descriptor)
