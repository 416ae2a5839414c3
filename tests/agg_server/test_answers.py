"""Answers that nobody takes: let go, and few of them for one device; who is merely slow gets all of them."""

import asyncio
import os
import socket
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path

import pytest
from aiohttp import web
from certificates import Authority, new_key, pem_of
from served import enrolled
from server_process import ServerProcess

from agg_server.errors import BusyError
from agg_server.tls import server_context
from agg_server.web import answers as sending
from agg_server.web.answers import Answers
from agg_server.web.door import Door
from agg_server.web.handlers import Handler
from agg_server.web.limits import Memory, Pace
from agg_server.web.port import Port
from benchmarks.ports import free_port
from fedit_shared.identity import sign_request
from fedit_shared.messages import adapter_path

MIB = 2**20
LARGE = 16 * MIB
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@web.middleware
async def refusing(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except BusyError:
        return web.Response(status=429)


def answering(
    folder: Path, answers: Answers, ask: Callable[[Callable[[str], Awaitable[Line]]], Awaitable[None]]
) -> None:
    """Serve answers of LARGE bytes by TLS, and run ``ask`` with a function that asks for one as a device, on a
    connection of its own of which little is on its way at any time."""
    authority, key, number = Authority(folder), new_key(), free_port()
    (folder / "certificate.pem").write_bytes(authority.sign("127.0.0.1", key))
    (folder / "key.pem").write_bytes(pem_of(key))
    trusting = ssl.create_default_context(cafile=authority.certificate)

    async def handle(request: web.Request) -> web.StreamResponse:
        request["signed_by"] = request.query["device"].encode()
        return web.Response(body=bytes(LARGE))

    async def run() -> None:
        door = Door(100, Pace(1000, lambda: 0.0), Memory())
        app = web.Application(middlewares=[answers.send, refusing, door.middleware, answers.weigh])
        app.add_routes([web.get("/", handle)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        context = server_context(folder / "certificate.pem", folder / "key.pem")
        port = await Port.open(door, runner.server, "127.0.0.1", number, context)
        lines: list[Line] = []

        async def get(device: str) -> Line:
            plain = socket.socket()
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
            plain.setblocking(False)
            await asyncio.get_running_loop().sock_connect(plain, ("127.0.0.1", number))
            line = await asyncio.open_connection(sock=plain, ssl=trusting, server_hostname="127.0.0.1")
            lines.append(line)
            line[1].write(f"GET /?device={device} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            return line

        try:
            async with asyncio.timeout(120):
                await ask(get)
        finally:
            for _, writer in lines:
                writer.transport.abort()
            port.close()
            await runner.cleanup()

    asyncio.run(run())


async def status_of(line: Line) -> int:
    return int((await line[0].readuntil(b"\r\n\r\n")).split()[1])


async def rest(line: Line, pause: float = 0.0) -> int:
    """How many bytes of the answer still come, taken piece by piece."""
    taken = 0
    while taken < LARGE:
        try:
            piece = await line[0].read(2**16)
        except OSError:
            break
        if not piece:
            break
        taken += len(piece)
        await asyncio.sleep(pause)
    return taken


def test_who_takes_nothing_of_an_answer_is_let_go_and_who_takes_it_slowly_gets_all_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(sending, "LOOK_SECONDS", 0.05)

    async def ask(get: Callable[[str], Awaitable[Line]]) -> None:
        stalled, slow = await get("a"), await get("b")
        assert [await status_of(stalled), await status_of(slow)] == [200, 200]
        assert await rest(slow, pause=0.01) == LARGE  # meanwhile the other has stood still for long
        assert await rest(stalled) < LARGE

    answering(tmp_path, Answers(), ask)


def test_a_device_has_few_answers_on_their_way_and_others_have_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sending, "EACH", 2)

    async def ask(get: Callable[[str], Awaitable[Line]]) -> None:
        held = [await get("a"), await get("a")]
        assert [await status_of(line) for line in held] == [200, 200]
        assert await status_of(await get("a")) == 429
        other = await get("b")
        assert await status_of(other) == 200
        assert await rest(held[0]) == LARGE
        for _ in range(6000):  # until the server has seen it
            if await status_of(await get("a")) == 200:
                return
            await asyncio.sleep(0.01)
        raise AssertionError("an answer that was taken counts for ever")

    answering(tmp_path, Answers(), ask)


def test_answers_have_one_budget_and_half_of_it_for_one_address(tmp_path: Path):
    async def ask(get: Callable[[str], Awaitable[Line]]) -> None:
        held = [await get("a"), await get("b")]
        assert [await status_of(line) for line in held] == [200, 200]
        assert await status_of(await get("c")) == 429

    answering(tmp_path, Answers(4 * LARGE + 1), ask)


def test_a_device_that_asks_for_adapter_after_adapter_and_takes_none_holds_eight(tmp_path: Path):
    server = ServerProcess(tmp_path, scale=2000)
    server.start()

    async def join() -> tuple[str, list[str]]:
        async with AsyncExitStack() as stack:
            [peer] = await enrolled(stack, server, 1)
            path = adapter_path((await peer.offer()).adapter)
            heads = [
                sign_request(
                    peer.key, peer.link.federation, "GET", path, b"", time=int(time.time()), nonce=os.urandom(16)
                )
                for _ in range(12)
            ]
            return path, heads

    try:
        path, heads = asyncio.run(join())
        context = ssl.create_default_context(cafile=server.folder / "tls" / "certificate.pem")
        context.check_hostname = False
        statuses: list[bytes] = []
        with ExitStack() as stack:
            for head in heads:
                plain = socket.socket()
                plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**12)
                plain.settimeout(60)
                plain.connect(("127.0.0.1", server.port))
                line = stack.enter_context(context.wrap_socket(plain))
                asked = f"GET {path} HTTP/1.1\r\nHost: x\r\nFedit-Protocol: 1\r\nAuthorization: {head}\r\n\r\n"
                line.sendall(asked.encode())
                statuses.append(line.recv(12))
        assert statuses == [b"HTTP/1.1 200"] * 8 + [b"HTTP/1.1 429"] * 4
    finally:
        assert server.stop() == 0
