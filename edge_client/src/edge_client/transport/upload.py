"""A masked vector goes up in chunks: only those that are missing, a few at once."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import CHUNK_SIZE, Accepted, ChunksHeld, chunk_path

from .http import ANSWER_SECONDS, Transport

PARALLEL = 3


async def upload(transport: Transport, cohort: bytes, vector: Path, progress: Callable[[int, int], None]) -> None:
    """See to it that the server holds all of ``vector``. ``progress(held bytes, all bytes)`` after each chunk.

    Cancelled and called again, it goes on with what is missing. Raises as :meth:`Transport.send`.
    """
    size = await asyncio.to_thread(os.path.getsize, vector)
    count = -(-size // CHUNK_SIZE)
    held = await chunks_held(transport, cohort)
    missing = [index for index in range(count) if not (index < 8 * len(held) and held[index // 8] >> index % 8 & 1)]
    lengths = [min(CHUNK_SIZE, size - index * CHUNK_SIZE) for index in range(count)]
    done = size - sum(lengths[index] for index in missing)
    progress(done, size)
    queue = iter(missing)

    async def sender() -> None:
        nonlocal done
        for index in queue:
            body = await asyncio.to_thread(_read, vector, index * CHUNK_SIZE, lengths[index])
            reply = await transport.exchange("PUT", chunk_path(cohort, index), body, seconds=ANSWER_SECONDS)
            if not isinstance(reply, Accepted):
                raise ProtocolError(f"The server answered a chunk with a {type(reply).__name__}.")
            done += len(body)
            progress(done, size)

    try:
        async with asyncio.TaskGroup() as group:
            for _ in range(min(PARALLEL, len(missing))):
                group.create_task(sender())
    except BaseExceptionGroup as several:
        raise several.exceptions[0] from None


async def chunks_held(transport: Transport, cohort: bytes) -> bytes:
    """Which chunks of this device's upload the server has: bit i of the little-endian bits."""
    reply = await transport.exchange("GET", chunk_path(cohort), seconds=ANSWER_SECONDS)
    if not isinstance(reply, ChunksHeld):
        raise ProtocolError(f"The server answered a question for chunks with a {type(reply).__name__}.")
    return reply.held


def _read(path: Path, offset: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(length)
