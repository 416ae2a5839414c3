"""What strangers can make a server do is bounded: connections, silence, unsigned requests."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import web
from peers import Peer
from server_process import ServerProcess

from agg_server import limits
from agg_server.errors import BusyError
from agg_server.limits import Door, Pace
from fedit_shared.messages import Accepted, Refused, ServerMessage, decode


def test_an_address_has_its_pace_and_gets_it_back_with_time():
    clock = [0.0]
    pace = Pace(60, lambda: clock[0])
    for _ in range(60):
        pace.take("192.0.2.1")
    with pytest.raises(BusyError, match="too often"):
        pace.take("192.0.2.1")
    pace.take("192.0.2.2")
    clock[0] = 10.0
    for _ in range(10):
        pace.take("192.0.2.1")
    with pytest.raises(BusyError):
        pace.take("192.0.2.1")


def test_an_ipv6_address_counts_with_its_network():
    pace = Pace(1, lambda: 0.0)
    pace.take("2001:db8::1")
    with pytest.raises(BusyError):
        pace.take("2001:db8::ffff")
    pace.take("2001:db8:0:1::1")


def test_addresses_are_forgotten_once_they_have_their_pace_back():
    clock = [0.0]
    pace = Pace(60, lambda: clock[0])
    for number in range(5000):
        clock[0] = number / 10
        pace.take(f"host{number}")
    assert len(pace._paid) < 2000


def test_too_many_connections_and_silent_ones_are_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(limits, "SILENT_SECONDS", 0.2)

    async def run() -> None:
        async def handle(request: web.Request) -> web.Response:
            return web.Response()

        door = Door(2, Pace(1000, lambda: 0.0))
        app = web.Application(middlewares=[door.middleware])
        app.add_routes([web.get("/", handle)])
        runner = web.AppRunner(app)
        await runner.setup()
        server = runner.server
        assert server is not None
        listening = await asyncio.get_running_loop().create_server(lambda: door.admit(server), "127.0.0.1", 0)
        host, port = listening.sockets[0].getsockname()

        async def asked(line: asyncio.StreamWriter, answers: asyncio.StreamReader) -> None:
            line.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert b" 200 " in await answers.readuntil(b"\r\n\r\n")

        speaking, silent = [await asyncio.open_connection(host, port) for _ in range(2)]
        await asked(speaking[1], speaking[0])
        third = await asyncio.open_connection(host, port)
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await asked(third[1], third[0])
        assert await silent[0].read() == b""  # let go
        await asked(speaking[1], speaking[0])
        fourth = await asyncio.open_connection(host, port)
        await asked(fourth[1], fourth[0])
        listening.close()
        await runner.cleanup()

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await run()

    asyncio.run(bounded())


def test_enrolments_beyond_the_pace_are_told_to_try_later_and_signed_requests_go_on(tmp_path: Path):
    server = ServerProcess(tmp_path, target=3)
    server.configure("server", unsigned_requests=8)
    server.start()
    [link] = server.invite("--uses", 100)

    async def run() -> None:
        async with AsyncExitStack() as stack:
            peer = await stack.enter_async_context(Peer(link))
            await peer.enrol()
            for _ in range(20):
                async with peer.http.get(link.address + "/join") as response:
                    status, raw, headers = response.status, await response.read(), response.headers
            told = decode(raw, ServerMessage)
            assert isinstance(told, Refused)
            assert (status, "Retry-After" in headers, "minute" in told.advice) == (429, True, True)
            assert isinstance(await peer.send((await peer.muster()).muster), Accepted)

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0
