"""Whatever is wrong with a request to whatever route: a 4xx that says why, and nothing has changed."""

import asyncio
import os
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
from bad_requests import COHORT, ENTRIES, HASH, TOKENS, Entry, at_bounds, beyond
from peers import Peer
from refusals import alone, require_refused, state
from server_process import ServerProcess
from sqlalchemy import Integer

from agg_server.store import Database, Device, Invitation, People
from agg_server.store.tables import devices
from agg_server.watching.metrics import Metrics
from agg_server.web.app import make_app
from agg_server.web.auth import Gate
from agg_server.web.limits import Memory, Pace
from agg_server.web.reading import Reader
from benchmarks.resident import status_bytes
from fedit_shared.identity import JoinLink, sign_request
from fedit_shared.messages import (
    CHUNK_SIZE,
    PROTOCOL_HEADER,
    ROUTES,
    Deal,
    Muster,
    chunk_path,
    encode,
)

CHECK_IN = ENTRIES["POST", "/v1/checkin"].message
assert CHECK_IN is not None
Route = tuple[str, str]
Act = Callable[[Peer], Awaitable[None]]
CALM = 24 * 2**20
"""Bytes by which the process may grow whatever it is sent: less than what it is sent."""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    served = ServerProcess(tmp_path_factory.mktemp("bad"), target=6, cohort_max=3)
    served.configure("server", unsigned_requests=10**6, device_requests=10**6)
    served.start()
    yield served
    assert served.stop() == 0
    log = served.log.read_text()
    assert "Traceback" not in log
    assert "level=error" not in log


@pytest.fixture(scope="module")
def link(server: ServerProcess) -> JoinLink:
    return server.invite("--uses", 100)[0]


@pytest.fixture(scope="module")
def someone(server: ServerProcess, link: JoinLink) -> Callable[[Act], None]:
    """Runs with a device that has joined and been offered the task; and nothing that it does changes anything."""
    alone(link, "someone", lambda peer: peer.offer(), enrol=True)

    def run(act: Act) -> None:
        before = state(server)
        alone(link, "someone", act)
        assert state(server) == before

    return run


def every(*, page: bool = False, signed: bool | None = None) -> pytest.MarkDecorator:
    routes = [r for r, e in ENTRIES.items() if e.page is page and signed in (None, e.signed)]
    return pytest.mark.parametrize("route", routes, ids=" ".join)


def test_every_route_of_the_server_is_tried_here():
    nobody: Any = None
    gate = Gate(bytes(32), lambda: (), time.time)
    reader = Reader(gate, nobody, Pace(60, time.monotonic), Memory())

    class Nowhere:
        def __getattr__(self, name: str) -> None:
            return None

    service: Any = Nowhere()
    app = make_app(service, reader, Metrics(), "a federation")
    routes = {(r.method, r.resource.canonical) for r in app.router.routes() if r.resource and r.method != "HEAD"}
    assert routes == set(ENTRIES)
    assert {type(entry.message) for entry in ENTRIES.values() if entry.message is not None} == set(ROUTES)


@every(signed=True)
def test_a_request_whose_token_is_not_its_own_is_not_authorized(someone: Callable[[Act], None], route: Route):
    method, entry = route[0], ENTRIES[route]

    async def act(peer: Peer) -> None:
        for name, token in TOKENS.items():
            header = {"Authorization": token(peer, method, entry.path, entry.body)}
            told = await peer.request(method, entry.path, entry.body, headers=header)
            refused = require_refused(told, (401,), name, "unauthorized")
            assert refused.advice, name
            assert abs((refused.server_time or 0) - time.time()) < 300, name

    someone(act)


@every(signed=True)
def test_a_request_is_good_once(server: ServerProcess, link: JoinLink, route: Route):
    """With a request to which the answer is no, so that the first changes nothing either."""
    method, entry = route[0], ENTRIES[route]
    body = b"\xc1" if entry.limit else b""

    async def act(peer: Peer) -> None:
        now = int(time.time())
        token = sign_request(peer.key, link.federation, method, entry.path, body, time=now, nonce=os.urandom(16))
        first = await peer.request(method, entry.path, body, headers={"Authorization": token})
        require_refused(first, (400, 404), "first")
        again = await peer.request(method, entry.path, body, headers={"Authorization": token})
        assert "sent before" in require_refused(again, (401,), "again", "unauthorized").message

    alone(link, "again", act, enrol=True)


@every()
def test_another_version_of_the_protocol_is_told_what_to_upgrade(someone: Callable[[Act], None], route: Route):
    method, entry = route[0], ENTRIES[route]

    async def act(peer: Peer) -> None:
        for spoken in ("0", "2", "", "1.0", "9" * 400):
            told = await peer.request(method, entry.path, entry.body, headers={PROTOCOL_HEADER: spoken})
            assert "pgrade" in require_refused(told, (426,), spoken, "incompatible").advice

    someone(act)


@every()
def test_a_body_beyond_the_limit_is_too_large_whether_or_not_it_says_how_long_it_is(
    someone: Callable[[Act], None], route: Route
):
    method, entry = route[0], ENTRIES[route]
    body = bytes(entry.limit + 1)

    async def act(peer: Peer) -> None:
        require_refused(await peer.request(method, entry.path, body), (413,), "its length said", "too-large")
        token = sign_request(
            peer.key, peer.link.federation, method, entry.path, body, time=int(time.time()), nonce=os.urandom(16)
        )
        headers = {"Authorization": token, PROTOCOL_HEADER: "1"}
        async with peer.http.request(
            method, peer.link.address + entry.path, data=in_pieces(body), headers=headers
        ) as response:
            told = response.status, await response.read(), response.headers
        require_refused(told, (413,), "no length said", "too-large")

    someone(act)


async def in_pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 2**16):
        yield body[at : at + 2**16]


@every()
def test_a_body_that_is_cut_off_is_as_if_it_had_not_been_sent(
    server: ServerProcess, someone: Callable[[Act], None], route: Route
):
    method, entry = route[0], ENTRIES[route]
    body = entry.body or bytes(min(entry.limit, 1000))

    async def act(peer: Peer) -> None:
        token = TOKENS["none"](peer, method, entry.path, body) or sign_request(
            peer.key, peer.link.federation, method, entry.path, body, time=int(time.time()), nonce=os.urandom(16)
        )
        head = f"{method} {entry.path} HTTP/1.1\r\nHost: x\r\n{PROTOCOL_HEADER}: 1\r\nAuthorization: {token}\r\n"
        cut = [(f"Content-Length: {len(body) + 9}", body), ("Transfer-Encoding: chunked", b"ff\r\n" + body[:9])]
        for length, sent in cut:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            _, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            writer.write(f"{head}{length}\r\n\r\n".encode() + sent)
            await writer.drain()
            writer.transport.abort()
        async with peer.http.get(peer.link.address + "/healthz") as response:
            assert response.status == 200

    someone(act)


def messages() -> list[Any]:
    return [pytest.param(route, entry, id=entry.path) for route, entry in ENTRIES.items() if entry.message is not None]


@pytest.mark.parametrize(("route", "entry"), messages())
def test_what_is_not_the_message_of_its_route_is_malformed(someone: Callable[[Act], None], route: Route, entry: Entry):
    assert entry.message is not None
    bodies: dict[str, bytes] = {"nothing": b"", "no msgpack": b"\xc1", "text": b"hello", "JSON": b'{"type": "leave"}'}
    bodies |= {"cut off": entry.body[:-1], "more": entry.body + b"\0", "deep": b"\x91" * min(entry.limit, 5000)}
    for other in ENTRIES.values():
        if other.message is not None and other.message is not entry.message and len(other.body) <= entry.limit:
            bodies[f"that of {other.path}"] = other.body
    bodies |= {name: msgspec.msgpack.encode(fields) for name, fields in beyond(entry.message)}

    async def act(peer: Peer) -> None:
        for name, body in bodies.items():
            told = await peer.request("POST", entry.path, body)
            require_refused(told, (400,) if len(body) <= entry.limit else (413,), name)

    someone(act)


@pytest.mark.parametrize(("route", "entry"), messages())
def test_a_message_at_its_bounds_is_no_error_of_the_servers(
    server: ServerProcess, link: JoinLink, route: Route, entry: Entry
):
    assert entry.message is not None

    async def act(peer: Peer) -> None:
        for name, fields in at_bounds(entry.message):
            before = state(server)
            told = await peer.request("POST", entry.path, msgspec.msgpack.encode(fields))
            if told[0] != 200:
                require_refused(told, (400, 403, 404, 409, 413), name)
                assert state(server) == before, name

    alone(link, f"at the bounds of {entry.path}", act, enrol=True)


@pytest.mark.parametrize(
    "changes",
    [
        {"federation": bytes(32)},
        {"task_hash": bytes(32)},
        {"round": 0},
        {"round": 2},
        {"round": 2**64 - 1},
        {"adapter": bytes(32)},
        {"round_key_hash": bytes(32)},
        {"not_after": 0},
    ],
    ids=lambda changes: "-".join(map(str, changes)),
)
def test_a_muster_for_anything_else_than_what_was_offered_is_refused(
    someone: Callable[[Act], None], changes: dict[str, Any]
):
    async def act(peer: Peer) -> None:
        seat = peer.train(await peer.offer(), **changes)
        told = await peer.request("POST", ROUTES[Muster].path, encode(seat.muster))
        require_refused(told, (400, 403, 409), changes)

    someone(act)


def test_the_most_memory_that_a_device_can_claim_fits_the_databases_column(tmp_path: Path):
    """On PostgreSQL one such claim would keep every device's from being noted."""
    database, people = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}"), People()
    database.migrate()
    [most] = [fields["memory_gib"] for name, fields in at_bounds(CHECK_IN) if name.startswith("memory_gib = 2")]
    device = Device(identity=HASH, status="active", joined=0.0, last_seen=1.0, accelerator="cpu", memory_gib=most)
    with database.begin() as connection:
        people.invite(connection, [Invitation(token_hash=HASH, created=0.0, expires=None, uses=1, used=0)])
        people.enrol(connection, HASH, HASH, 0.0)
        people.seen(connection, device)
        found = people.device(connection, HASH)
    database.close()
    assert found is not None
    assert isinstance(devices.c.memory_gib.type, Integer)
    assert found.memory_gib == 2**31 - 1


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads a process's memory from Linux's /proc")
def test_bodies_that_are_too_large_take_no_memory(server: ServerProcess, link: JoinLink):
    """A hundred megabytes of them, with and without their length, several at once, of devices and of strangers."""
    body, paths = bytes(4 * CHUNK_SIZE), (chunk_path(COHORT, 0), ROUTES[Deal].path)

    async def send(peer: Peer, path: str, *, length: bool, stranger: bool) -> None:
        method = "POST" if path == ROUTES[Deal].path else "PUT"
        token = TOKENS["a stranger's" if stranger else "too old"](peer, method, path, body)
        headers = {"Authorization": token, PROTOCOL_HEADER: "1"}
        data = body if length else in_pieces(body)
        try:
            async with peer.http.request(method, link.address + path, data=data, headers=headers) as response:
                assert response.status == (401 if stranger else 413)
        except aiohttp.ClientError:
            pass  # the server need not wait for the rest

    async def act(peer: Peer) -> None:
        kinds = [(path, length, stranger) for path in paths for length in (True, False) for stranger in (True, False)]
        sizes = []
        for _ in range(7):
            async with asyncio.TaskGroup() as group:
                for path, length, stranger in kinds:
                    group.create_task(send(peer, path, length=length, stranger=stranger))
            sizes.append(status_bytes("VmRSS", server.pid))
        assert max(sizes) - sizes[0] < CALM, sizes

    alone(link, "large", act, enrol=True)
