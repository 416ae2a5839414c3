"""What one sender can make a server do is bounded: connections, silence, requests, memory."""

import asyncio
import os
import resource
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import pytest
from aiohttp import web
from certificates import Authority, new_key, pem_of
from peers import Peer
from server_process import ServerProcess

from agg_server.errors import BusyError
from agg_server.tls import server_context
from agg_server.web import door as doors
from agg_server.web import port as ports
from agg_server.web.auth import Gate
from agg_server.web.door import Door
from agg_server.web.limits import Memory, Pace
from agg_server.web.port import Port
from agg_server.web.reading import Reader
from benchmarks.ports import free_port
from fedit_shared.identity import SigningKey, sign_request
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


def test_of_a_few_addresses_none_is_kept_a_minute_after_it_has_its_pace_back():
    clock = [0.0]
    pace = Pace(60, lambda: clock[0])
    for number in range(3):
        pace.take(f"192.0.2.{number}")
    clock[0] = 62.0
    pace.take("192.0.2.9")
    assert set(pace._paid) == {"192.0.2.9"}


Handle = Callable[[web.Request], Awaitable[web.StreamResponse]]
Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


def behind(
    door: Door,
    handle: Handle,
    ask: Callable[[Callable[..., Awaitable[Line]]], Awaitable[None]],
    context: ssl.SSLContext | None = None,
) -> None:
    """Serve ``handle`` behind ``door``, and run ``ask`` with a function that connects to it from an address. It speaks
    TLS where told so."""
    number = free_port()

    async def run() -> None:
        app = web.Application(middlewares=[door.middleware])
        app.add_routes([web.route("*", "/", handle)])
        runner = web.AppRunner(app, lingering_time=0.0, shutdown_timeout=0.1)
        await runner.setup()
        assert runner.server is not None
        port = await Port.open(door, runner.server, "127.0.0.1", number, context)

        async def connect(source: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Line:
            return await asyncio.open_connection("127.0.0.1", number, local_addr=(source, 0), ssl=tls)

        try:
            async with asyncio.timeout(120):
                await ask(connect)
        finally:
            port.close()
            await runner.cleanup()

    asyncio.run(run())


async def nothing(request: web.Request) -> web.Response:
    return web.Response()


async def status_of(line: Line, head: bytes = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n") -> int:
    line[1].write(head)
    return int((await line[0].readuntil(b"\r\n\r\n")).split()[1])


async def refused(line: Line) -> bool:
    try:
        return await status_of(line) == 0
    except (ConnectionError, asyncio.IncompleteReadError):
        return True


def test_half_of_all_connections_may_come_from_one_address_and_no_more_than_all():
    async def ask(connect: Callable[..., Awaitable[Line]]) -> None:
        lines = [await connect(), await connect()]
        assert [await status_of(line) for line in lines] == [200, 200]
        assert await refused(await connect())
        others = [await connect("127.0.0.2"), await connect("127.0.0.2")]
        assert [await status_of(line) for line in others] == [200, 200]
        assert await refused(await connect("127.0.0.3"))
        lines[0][1].close()
        await lines[0][1].wait_closed()
        another = await connect()
        for _ in range(1000):  # the server has yet to see the end of the first
            if not await refused(another):
                break
            another = await connect()
        assert [await status_of(line) for line in (*lines[1:], *others, another)] == [200] * 4

    behind(Door(4, Pace(1000, lambda: 0.0), Memory()), nothing, ask)


def test_a_connection_that_stays_silent_is_let_go_and_one_that_speaks_is_not(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(doors, "SILENT_SECONDS", 0.2)

    async def ask(connect: Callable[..., Awaitable[Line]]) -> None:
        speaking, silent = await connect(), await connect()
        assert await status_of(speaking) == 200
        assert await silent[0].read() == b""
        assert await status_of(speaking) == 200

    behind(Door(4, Pace(1000, lambda: 0.0), Memory()), nothing, ask)


async def only(door: Door, connections: int) -> None:
    """Wait until the server has seen the end of all others."""
    for _ in range(6000):
        if door.connections == connections:
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"{door.connections} connections count")


async def ended(line: Line) -> bool:
    """Wait until the other side has let go of a connection on which nothing was said."""
    with suppress(ConnectionError):
        assert await line[0].read() == b""
    return True


def test_connections_that_never_begin_tls_count_and_are_let_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ports, "HANDSHAKE_SECONDS", 2.0)
    authority, key = Authority(tmp_path), new_key()
    (tmp_path / "certificate.pem").write_bytes(authority.sign("127.0.0.1", key))
    (tmp_path / "key.pem").write_bytes(pem_of(key))
    context = server_context(tmp_path / "certificate.pem", tmp_path / "key.pem")
    trusting = ssl.create_default_context(cafile=authority.certificate)
    door = Door(4, Pace(1000, lambda: 0.0), Memory())

    async def ask(connect: Callable[..., Awaitable[Line]]) -> None:
        mute = [await connect("127.0.0.2") for _ in range(12)]
        speaking = await connect(tls=trusting)
        assert await status_of(speaking) == 200
        assert all([await ended(line) for line in mute])
        await only(door, 1)
        again = await connect("127.0.0.2", tls=trusting)
        assert await status_of(again) == 200
        nonsense = await connect("127.0.0.2")
        nonsense[1].write(b"GET / HTTP/1.1\r\n\r\n")
        with suppress(ConnectionError):
            await nonsense[0].read()
        await only(door, 2)
        assert [await status_of(line) for line in (speaking, again)] == [200, 200]

    behind(door, nothing, ask, context)


def test_a_server_that_one_address_floods_with_silent_connections_serves_others_and_says_so_once(
    tmp_path: Path,
):
    server = ServerProcess(tmp_path)
    server.configure("server", connections=16)
    server.start()
    try:
        with ExitStack() as stack:
            before = len(os.listdir(f"/proc/{server.pid}/fd"))
            for _ in range(200):
                stack.enter_context(socket.create_connection(("127.0.0.1", server.port), 60, ("127.0.0.2", 0)))
            assert server.is_ready()  # the last to connect: so the others have been let in, or not
            assert len(os.listdir(f"/proc/{server.pid}/fd")) < before + 50
        said = server.log.read_text()
        assert said.count("connections were refused") == 1
        assert "Traceback" not in said
    finally:
        assert server.stop() == 0


def test_as_many_connections_are_let_in_as_the_system_has_files_for(monkeypatch: pytest.MonkeyPatch):
    limits = [(256, 4096)]
    monkeypatch.setattr(resource, "getrlimit", lambda _: limits[-1])
    monkeypatch.setattr(resource, "setrlimit", lambda _, new: limits.append(new))
    assert doors.make_room(1000) == 1000
    assert limits[-1] == (1512, 4096)
    assert doors.make_room(10000) == 3584
    assert limits[-1] == (4096, 4096)


def test_bodies_in_memory_are_bounded_for_one_address_and_for_all_and_freed_when_answered():
    memory = Memory(4000)

    async def offload(work: Callable[[], object]) -> object:
        return work()

    reader = Reader(Gate(bytes(32), lambda: (), lambda: 0.0), offload, Pace(60, lambda: 0.0), memory)
    here, go_on = asyncio.Queue[None](), asyncio.Event()

    async def handle(request: web.Request) -> web.Response:
        try:
            await reader.body(request, 900)
        except BusyError:
            return web.Response(status=429)
        here.put_nowait(None)
        await go_on.wait()
        return web.Response()

    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n" + bytes(900)

    async def ask(connect: Callable[..., Awaitable[Line]]) -> None:
        held = [asyncio.create_task(status_of(await connect(f"127.0.0.{i}"), post)) for i in range(1, 5)]
        for _ in held:
            await here.get()
        assert await status_of(await connect("127.0.0.1"), post) == 429  # a quarter is one address's
        assert await status_of(await connect("127.0.0.9"), post) == 429  # 4,500 of 4,000
        go_on.set()
        assert await asyncio.gather(*held) == [200] * 4
        assert await status_of(await connect("127.0.0.1"), post) == 200

    behind(Door(100, Pace(1000, lambda: 0.0), memory), handle, ask)


def test_a_device_has_its_pace_which_nobody_else_can_use_up(tmp_path: Path):
    server = ServerProcess(tmp_path, target=3)
    server.configure("server", device_requests=60)
    server.start()
    [link] = server.invite("--uses", 2)

    async def run() -> None:
        async with Peer(link, 1) as busy, Peer(link, 2) as calm:
            await busy.enrol()
            await calm.enrol()
            statuses = [(await busy.request("GET", f"/v1/adapters/{'0' * 64}"))[0] for _ in range(70)]
            assert statuses[:60] == [404] * 60
            assert 429 in statuses[60:]
            forged = Peer(link, 3)
            forged.key = _Named(calm.identity, forged.key)  # type: ignore[assignment]
            async with forged:
                told = [(await forged.request("GET", f"/v1/adapters/{'0' * 64}"))[0] for _ in range(70)]
            assert set(told) == {401}
            assert isinstance(await calm.send((await calm.muster()).muster), Accepted)

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0


def test_a_device_over_its_pace_has_no_numbers_kept():
    key, federation, used = SigningKey(bytes(32)), bytes(32), list[bytes]()

    class Kept:
        def use(self, nonce: bytes, time: int) -> None:
            used.append(nonce)

    async def offload(work: Callable[[], object]) -> object:
        return work()

    gate = Gate(federation, lambda: (key.public,), lambda: 0.0, Kept())
    reader = Reader(gate, offload, Pace(2, lambda: 0.0, "device"), Memory())

    async def handle(request: web.Request) -> web.Response:
        try:
            await reader.signed(request, 0)
        except BusyError:
            return web.Response(status=429)
        return web.Response()

    async def ask(connect: Callable[..., Awaitable[Line]]) -> None:
        line, statuses = await connect(), list[int]()
        for number in range(5):
            header = sign_request(key, federation, "GET", "/", b"", time=0, nonce=bytes([number] * 16))
            statuses.append(
                await status_of(line, f"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: {header}\r\n\r\n".encode())
            )
        assert statuses == [200, 200, 429, 429, 429]

    behind(Door(4, Pace(1000, lambda: 0.0), Memory()), handle, ask)
    assert len(used) == 2


class _Named:
    """A key that signs in another's name."""

    def __init__(self, public: bytes, key: SigningKey) -> None:
        self.public, self.sign = public, key.sign


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
            for page in ("/dashboard", "/dashboard/login", "/dashboard/static/page.js"):
                async with peer.http.get(link.address + page) as response:
                    assert (response.status, response.headers["Retry-After"]) == (429, "10"), page
                    assert "asks too often" in await response.text()
            assert isinstance(await peer.send((await peer.muster()).muster), Accepted)

    try:
        asyncio.run(run())
    finally:
        assert server.stop() == 0
