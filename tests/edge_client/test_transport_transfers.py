"""Uploads and downloads go on where they broke off, and end with the right bytes."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from aiohttp import web
from lines import Line
from tls_server import Handler, Tls, answer, serving

from edge_client.state import DiskError
from edge_client.transport import Server, Transport, download_adapter, upload
from fedit_shared.errors import ConflictError, ForgedError, ProtocolError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, Accepted, ChunksHeld, Refused

KEY = SigningKey(bytes(range(32)))
COHORT = b"c" * 16
TLS = Tls()


@asynccontextmanager
async def linked(handler: Handler, folder: Path, line: Line | None = None) -> AsyncIterator[Transport]:
    async with serving(handler, folder, TLS) as port:
        if line is None:
            async with Transport(
                Server(f"https://127.0.0.1:{port}", TLS.pin, bytes(32)), KEY, print, clock=time.time, base=0.001
            ) as it:
                yield it
        else:
            line.port = port
            async with line.open() as near:
                server = Server(f"https://127.0.0.1:{near}", TLS.pin, bytes(32))
                async with Transport(server, KEY, print, clock=time.time, base=0.001) as it:
                    yield it


class Chunks:
    """A server that keeps chunks."""

    def __init__(self) -> None:
        self.held: dict[int, bytes] = {}
        self.received = 0
        self.sizes: list[int] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        if request.method == "GET":
            bits = np.zeros(max(self.held, default=-1) + 1, np.uint8)
            bits[list(self.held)] = 1
            return answer(ChunksHeld(held=np.packbits(bits, bitorder="little").tobytes()))
        body = await request.read()
        self.received += len(body)
        first = int(request.path.rpartition("/")[2])
        self.sizes.append(len(body))
        self.held |= {first + at // PIECE_SIZE: body[at : at + PIECE_SIZE] for at in range(0, len(body), PIECE_SIZE)}
        return answer(Accepted())

    def joined(self) -> bytes:
        return b"".join(self.held[index] for index in sorted(self.held))


def vector(folder: Path, chunks: float) -> tuple[Path, bytes]:
    data = os.urandom(int(chunks * CHUNK_SIZE))
    path = folder / "vector"
    path.write_bytes(data)
    return path, data


def test_an_upload_sends_what_the_server_lacks_and_tells_how_far_it_is(tmp_path: Path) -> None:
    async def go() -> None:
        path, data = vector(tmp_path, 4.5)
        server, told = Chunks(), []
        for at in range(CHUNK_SIZE, 2 * CHUNK_SIZE, PIECE_SIZE):
            server.held[at // PIECE_SIZE] = data[at : at + PIECE_SIZE]
        async with linked(server, tmp_path) as transport:
            await upload(transport, COHORT, path, lambda *at: told.append(at))
        assert server.joined() == data
        assert server.received == len(data) - CHUNK_SIZE
        assert told[0] == (CHUNK_SIZE, len(data))
        assert told[-1] == (len(data), len(data))

    asyncio.run(go())


def test_an_upload_over_a_line_that_breaks_in_mid_chunk_sends_little_twice(tmp_path: Path) -> None:
    async def go() -> None:
        path, data = vector(tmp_path, 16)
        server, line = Chunks(), Line(0, cut_after=int(3.5 * CHUNK_SIZE))
        async with linked(server, tmp_path, line) as transport:
            await upload(transport, COHORT, path, lambda *_: None)
        assert server.joined() == data
        assert line.opened > 3
        assert line.bytes_up < len(data) + line.opened * CHUNK_SIZE  # a break loses the chunk on its way, no other
        assert server.received == len(data)

    asyncio.run(go())


def test_a_line_that_never_carries_a_whole_chunk_between_two_breaks_carries_the_upload_all_the_same(
    tmp_path: Path,
) -> None:
    async def go() -> None:
        path, data = vector(tmp_path, 8.3)
        server, line = Chunks(), Line(0, cut_after=CHUNK_SIZE * 3 // 4)
        async with asyncio.timeout(120), linked(server, tmp_path, line) as transport:
            await upload(transport, COHORT, path, lambda *_: None)
        assert server.joined() == data
        assert line.bytes_up < 1.25 * len(data)  # the first chunk, TLS and headers included
        assert max(server.sizes) <= CHUNK_SIZE // 4

    asyncio.run(go())


def test_chunks_grow_again_where_the_line_got_better(tmp_path: Path) -> None:
    async def go() -> None:
        path, data = vector(tmp_path, 24)
        server, line = Chunks(), Line(0, cut_after=PIECE_SIZE * 3)

        def better(sent: int, _: int) -> None:
            if sent:
                line.cut_after = None

        async with asyncio.timeout(120), linked(server, tmp_path, line) as transport:
            await upload(transport, COHORT, path, better)
        assert server.joined() == data
        assert (server.sizes[0], server.sizes[-1]) == (PIECE_SIZE, CHUNK_SIZE)

    asyncio.run(go())


def test_a_chunk_that_arrived_is_not_sent_again_although_its_answer_was_lost(tmp_path: Path) -> None:
    class Deaf(Chunks):
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            new = request.method == "PUT" and int(request.path.rpartition("/")[2]) not in self.held
            reply = await super().__call__(request)
            if new:
                assert request.transport is not None
                request.transport.abort()
            return reply

    async def go() -> None:
        path, data = vector(tmp_path, 3.5)
        server = Deaf()
        async with linked(server, tmp_path) as transport:
            await upload(transport, COHORT, path, lambda *_: None)
            assert transport.sent_bytes == len(data)
        assert server.joined() == data
        assert server.received == len(data)
        assert len(server.sizes) == 4, "a line that carries whole chunks is given whole chunks"

    asyncio.run(go())


def test_a_balancer_that_sends_every_other_request_to_a_dead_server_stops_no_upload(tmp_path: Path) -> None:
    class Alternating(Chunks):
        asked = 0

        async def __call__(self, request: web.Request) -> web.StreamResponse:
            self.asked += 1
            return await super().__call__(request) if self.asked % 2 else web.Response(status=502)

    async def go() -> None:
        path, data = vector(tmp_path, 3.5)
        server = Alternating()
        async with asyncio.timeout(120), linked(server, tmp_path) as transport:
            await upload(transport, COHORT, path, lambda *_: None)
        assert server.joined() == data

    asyncio.run(go())


def test_a_chunk_that_came_too_slowly_is_sent_again_in_smaller_ones(tmp_path: Path) -> None:
    class Impatient(Chunks):
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            if request.method == "PUT" and int(request.headers["Content-Length"]) > 4 * PIECE_SIZE:
                await request.read()
                return answer(Refused(code="slow", message="The request came too slowly."), 408)
            return await super().__call__(request)

    async def go() -> None:
        path, data = vector(tmp_path, 1.5)
        server = Impatient()
        async with asyncio.timeout(120), linked(server, tmp_path) as transport:
            await upload(transport, COHORT, path, lambda *_: None)
        assert server.joined() == data

    asyncio.run(go())


def test_a_cancelled_upload_is_finished_by_the_next(tmp_path: Path) -> None:
    async def go() -> None:
        path, data = vector(tmp_path, 6)
        server = Chunks()
        async with linked(server, tmp_path) as transport:
            task: asyncio.Task[None]

            def stop(sent: int, _: int) -> None:
                if sent >= 2 * CHUNK_SIZE:
                    task.cancel()

            task = asyncio.create_task(upload(transport, COHORT, path, stop))
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(server.joined()) < len(data)
            await upload(transport, COHORT, path, lambda *_: None)
        assert server.joined() == data

    asyncio.run(go())


def test_a_refused_chunk_ends_the_upload_with_the_servers_reason(tmp_path: Path) -> None:
    async def refuse(request: web.Request) -> web.StreamResponse:
        await request.read()
        if request.method == "GET":
            return answer(ChunksHeld(held=b""))
        return answer(Refused(code="conflict", message="The window is over."), 409)

    async def go() -> None:
        path, _ = vector(tmp_path, 6)
        async with linked(refuse, tmp_path) as transport:
            with pytest.raises(ConflictError, match="The window is over"):
                await upload(transport, COHORT, path, lambda *_: None)

    asyncio.run(go())


class Adapter:
    """A server that sends a file in pieces, honouring ranges; ``breaks``: connections dropped in the middle."""

    def __init__(self, data: bytes, breaks: int = 0, ranges: bool = True) -> None:
        self.data = data
        self.breaks = breaks
        self.ranges = ranges
        self.sent = 0
        self.starts: list[int] = []

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        start = request.http_range.start or 0 if self.ranges else 0
        self.starts.append(start)
        headers = {"Fedit-Protocol": "1", "Content-Length": str(len(self.data) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(self.data) - 1}/{len(self.data)}"
        response = web.StreamResponse(status=206 if start else 200, headers=headers)
        await response.prepare(request)
        middle = start + (len(self.data) - start) // 2
        await response.write(self.data[start:middle])
        if self.breaks:
            self.breaks -= 1
            assert request.transport is not None
            request.transport.close()
            return response
        await response.write(self.data[middle:])
        return response


def fetch(server: Adapter, folder: Path, digest: bytes | None = None, size: int | None = None) -> Path:
    target = folder / "adapter.safetensors"

    async def go() -> None:
        async with asyncio.timeout(120), linked(server, folder) as transport:
            await download_adapter(
                transport,
                digest or sha256(server.data).digest(),
                size or len(server.data),
                target,
                lambda received, _: None,
            )

    asyncio.run(go())
    return target


def test_a_download_goes_on_where_it_broke_off(tmp_path: Path) -> None:
    server = Adapter(os.urandom(2**20), breaks=3)
    assert fetch(server, tmp_path).read_bytes() == server.data
    assert server.starts[0] == 0
    assert server.starts == sorted(set(server.starts))


@pytest.mark.skipif(os.name == "nt", reason="POSIX modes")
def test_a_download_is_its_owners_alone_from_the_first_byte_on(tmp_path: Path) -> None:
    modes: list[int] = []

    class Watched(Adapter):
        async def __call__(self, request: web.Request) -> web.StreamResponse:
            if self.starts:  # broken off once: the part is there
                modes.append((tmp_path / "adapter.safetensors.part").stat().st_mode & 0o777)
            return await super().__call__(request)

    target = fetch(Watched(os.urandom(2**20), breaks=1), tmp_path)
    assert [*modes, target.stat().st_mode & 0o777] == [0o600, 0o600]


def test_a_server_without_ranges_is_read_from_the_start(tmp_path: Path) -> None:
    server = Adapter(os.urandom(2**20), breaks=2, ranges=False)
    assert fetch(server, tmp_path).read_bytes() == server.data


def test_what_is_here_already_is_not_fetched_again(tmp_path: Path) -> None:
    server = Adapter(os.urandom(2**16))
    fetch(server, tmp_path)
    fetch(server, tmp_path)
    assert len(server.starts) == 1


def test_a_damaged_part_is_thrown_away_and_fetched_anew(tmp_path: Path) -> None:
    server = Adapter(os.urandom(2**16))
    (tmp_path / "adapter.safetensors.part").write_bytes(bytes(1000))
    assert fetch(server, tmp_path).read_bytes() == server.data
    assert server.starts == [1000, 0]


def test_another_adapter_than_the_offered_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ForgedError, match="another adapter"):
        fetch(Adapter(os.urandom(2**16)), tmp_path, digest=bytes(32))
    assert not (tmp_path / "adapter.safetensors").exists()


def test_a_larger_adapter_than_the_offered_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="larger adapter"):
        fetch(Adapter(os.urandom(2**16)), tmp_path, size=2**15)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_ends_a_download_instead_of_trying_for_ever(tmp_path: Path) -> None:
    (tmp_path / "adapter.safetensors.part").symlink_to("/dev/full")
    with pytest.raises(DiskError, match="No space left"):
        fetch(Adapter(os.urandom(2**20)), tmp_path)
