"""A masked vector goes up in chunks: only what is missing, one chunk after the other.

One at a time, so that a line that breaks loses no more than the one that it carries; and after a break the server is
asked first what it holds, since the chunk may have arrived although its answer did not. A line that breaks often gets
smaller chunks, down to one piece: what it loses stays a small part of what it carries.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, Accepted, ChunksHeld, chunk_path

from .http import Transport, limits, read_message
from .patience import TryAgainError, delays

_LOST_SHARE = 8
"""A chunk is at most this part of what the line carried between its last two breaks, or since the last one …"""
_SHRINK = 4
"""… and smaller by this factor where it carried nothing."""


async def upload(transport: Transport, cohort: bytes, vector: Path, progress: Callable[[int, int], None]) -> None:
    """See to it that the server holds all of ``vector``. ``progress(held bytes, all bytes)`` after each chunk.

    Cancelled and called again, it goes on with what is missing. Raises as :meth:`Transport.send`.
    """
    size = await asyncio.to_thread(os.path.getsize, vector)
    stride, pauses = _Stride(), delays()
    missing = await _missing(transport, cohort, size, progress)
    left = sum(_length(piece, size) for piece in missing)
    while missing:
        first, count = missing[0], _together(missing, stride.pieces)
        length = sum(_length(piece, size) for piece in missing[:count])
        body = await asyncio.to_thread(_read, vector, first * PIECE_SIZE, length)
        sent_before = transport.sent_bytes
        try:
            await _put(transport, chunk_path(cohort, first), body)
        except TryAgainError as error:
            await transport.pause(error, next(pauses))
            if error.unheard:
                missing = await _missing(transport, cohort, size, progress)
                left = sum(_length(piece, size) for piece in missing)
                if first not in missing:
                    stride.carried(length)
                elif transport.sent_bytes > sent_before:
                    stride.broke()
            continue
        stride.carried(length)
        del missing[:count]
        left -= length
        pauses = delays()
        progress(size - left, size)


async def chunks_held(transport: Transport, cohort: bytes) -> bytes:
    """Which pieces of this device's upload the server has: bit i of the little-endian bits."""
    reply = await transport.exchange("GET", chunk_path(cohort))
    if not isinstance(reply, ChunksHeld):
        raise ProtocolError(f"The server answered a question for chunks with a {type(reply).__name__}.")
    return reply.held


class _Stride:
    """How many pieces a chunk has on this line."""

    def __init__(self) -> None:
        self.pieces = _most()
        self._run = 0
        """Bytes since the last break."""

    def carried(self, size: int) -> None:
        """A chunk has arrived."""
        self._run += size
        self.pieces = max(self.pieces, self._borne())

    def broke(self) -> None:
        """A chunk was lost on its way."""
        self.pieces = self._borne() if self._run else max(1, self.pieces // _SHRINK)
        self._run = 0

    def _borne(self) -> int:
        return min(max(self._run // _LOST_SHARE // PIECE_SIZE, 1), _most())


def _most() -> int:
    return CHUNK_SIZE // PIECE_SIZE


async def _missing(transport: Transport, cohort: bytes, size: int, progress: Callable[[int, int], None]) -> list[int]:
    """The pieces that the server lacks, rising."""
    held = await chunks_held(transport, cohort)
    pieces = range(-(-size // PIECE_SIZE))
    lacking = [piece for piece in pieces if not (piece < 8 * len(held) and held[piece // 8] >> piece % 8 & 1)]
    progress(size - sum(_length(piece, size) for piece in lacking), size)
    return lacking


def _together(missing: list[int], most: int) -> int:
    """How many of the first missing pieces go into one chunk."""
    first = missing[0]
    end = min(first + most, (first // _most() + 1) * _most())
    return sum(piece == first + number for number, piece in enumerate(missing[: end - first]))


async def _put(transport: Transport, path: str, body: bytes) -> None:
    reply = await transport.once("PUT", path, body, limits=limits(body), read=read_message)
    if not isinstance(reply, Accepted):
        raise ProtocolError(f"The server answered a chunk with a {type(reply).__name__}.")


def _length(piece: int, size: int) -> int:
    return min(PIECE_SIZE, size - piece * PIECE_SIZE)


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
