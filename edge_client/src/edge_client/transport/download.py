"""An adapter version comes down once, resumes where it broke off, and is what its hash says."""

import asyncio
import os
from collections.abc import Callable
from hashlib import file_digest
from pathlib import Path
from typing import BinaryIO

import aiohttp

from edge_client.disk import disk_errors
from fedit_shared.errors import ForgedError, ProtocolError
from fedit_shared.messages import adapter_path

from .http import ANSWER_SECONDS, CONNECT_SECONDS, Transport
from .patience import TryAgainError, delays

_TELL_BYTES = 2**20
_TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_SECONDS, sock_read=ANSWER_SECONDS)


async def download_adapter(
    transport: Transport, adapter: bytes, size: int, target: Path, progress: Callable[[int, int], None]
) -> None:
    """``target`` holds the ``size`` bytes whose SHA-256 is ``adapter``. ``progress(bytes here, size)``.

    Nothing is fetched if it does already. Raises ForgedError if the server sends something else, twice, and DiskError.
    """
    if await asyncio.to_thread(_is, target, adapter):
        return
    part = _Part(target.with_name(target.name + ".part"))
    for _ in range(2):
        await _fetch(transport, adapter_path(adapter), size, part, progress)
        if await asyncio.to_thread(_is, part.path, adapter):
            await asyncio.to_thread(part.becomes, target)
            return
        part.drop()  # it may have been resumed from a damaged part
    raise ForgedError("The server sends another adapter than the one it offers.")


class _Part:
    """The file of what is here so far. Raises DiskError where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def length(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def open(self, at: int) -> BinaryIO:
        flags = os.O_WRONLY | os.O_CREAT | (0 if at else os.O_TRUNC) | getattr(os, "O_BINARY", 0)
        with disk_errors(self.path):
            file = os.fdopen(os.open(self.path, flags, 0o600), "wb")
            file.seek(at)
        return file

    def drop(self) -> None:
        with disk_errors(self.path):
            self.path.unlink(missing_ok=True)

    def becomes(self, target: Path) -> None:
        with disk_errors(target):
            with self.path.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(self.path, target)


async def _fetch(transport: Transport, path: str, size: int, part: _Part, progress: Callable[[int, int], None]) -> None:
    pauses = delays()
    while (have := part.length()) != size:
        if have > size:
            part.drop()
            continue

        async def append(response: aiohttp.ClientResponse, have: int = have) -> None:
            await _append(response, part, have, size, progress)

        ranged = {"Range": f"bytes={have}-"} if have else {}
        try:
            await transport.once("GET", path, limits=_TIMEOUT, read=append, headers=ranged)
        except TryAgainError as error:
            if part.length() > have:
                pauses = delays()
            await transport.pause(error, next(pauses))


async def _append(
    response: aiohttp.ClientResponse, part: _Part, have: int, size: int, progress: Callable[[int, int], None]
) -> None:
    resumed = response.status == 206
    if resumed and not response.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
        raise ProtocolError("The server sent another part of an adapter than it was asked for.")
    at = told = have if resumed else 0
    with part.open(at) as file:
        async for piece in response.content.iter_chunked(2**18):
            at += len(piece)
            if at > size:
                raise ProtocolError("The server sent a larger adapter than it offered.")
            with disk_errors(part.path):
                file.write(piece)
            if at == size or at - told >= _TELL_BYTES:
                told = at
                progress(at, size)


def _is(path: Path, digest: bytes) -> bool:
    with disk_errors(path):
        if not path.exists():
            return False
        with path.open("rb") as file:
            return file_digest(file, "sha256").digest() == digest
