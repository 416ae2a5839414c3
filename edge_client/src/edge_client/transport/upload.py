"""A masked vector goes up in chunks: only those that are missing, one after the other.

One at a time, so that a line that breaks loses no more than the one that it carries; and after a break the server is
asked first what it holds, since the chunk may have arrived although its answer did not.
"""

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import CHUNK_SIZE, Accepted, ChunksHeld, chunk_path

from .http import Transport, limits, read_message
from .patience import TryAgainError, delays


async def upload(transport: Transport, cohort: bytes, vector: Path, progress: Callable[[int, int], None]) -> None:
    """See to it that the server holds all of ``vector``. ``progress(held bytes, all bytes)`` after each chunk.

    Cancelled and called again, it goes on with what is missing. Raises as :meth:`Transport.send`.
    """
    size = await asyncio.to_thread(os.path.getsize, vector)
    missing, pauses = await _missing(transport, cohort, size, progress), delays()
    while missing:
        index, later = missing[0]
        body = await asyncio.to_thread(_read, vector, index * CHUNK_SIZE, _length(index, size))
        try:
            await _put(transport, chunk_path(cohort, index), body)
        except TryAgainError as error:
            await transport.pause(error, next(pauses))
            if error.unheard:
                missing = await _missing(transport, cohort, size, progress)
            continue
        missing.popleft()
        pauses = delays()
        progress(size - later, size)


async def chunks_held(transport: Transport, cohort: bytes) -> bytes:
    """Which chunks of this device's upload the server has: bit i of the little-endian bits."""
    reply = await transport.exchange("GET", chunk_path(cohort))
    if not isinstance(reply, ChunksHeld):
        raise ProtocolError(f"The server answered a question for chunks with a {type(reply).__name__}.")
    return reply.held


async def _missing(
    transport: Transport, cohort: bytes, size: int, progress: Callable[[int, int], None]
) -> deque[tuple[int, int]]:
    """The chunks that the server lacks, each with the bytes that it will then still lack."""
    held = await chunks_held(transport, cohort)
    count = -(-size // CHUNK_SIZE)
    lacking = [index for index in range(count) if not (index < 8 * len(held) and held[index // 8] >> index % 8 & 1)]
    left = sum(_length(index, size) for index in lacking)
    progress(size - left, size)
    missing: deque[tuple[int, int]] = deque()
    for index in lacking:
        left -= _length(index, size)
        missing.append((index, left))
    return missing


async def _put(transport: Transport, path: str, body: bytes) -> None:
    reply = await transport.once("PUT", path, body, limits=limits(body), read=read_message)
    if not isinstance(reply, Accepted):
        raise ProtocolError(f"The server answered a chunk with a {type(reply).__name__}.")


def _length(index: int, size: int) -> int:
    return min(CHUNK_SIZE, size - index * CHUNK_SIZE)


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
