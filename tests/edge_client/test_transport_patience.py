"""What time heals is tried again, with a word about it; what it does not is raised, in the server's own words."""

import asyncio
import gzip
import socket
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web
from tls_server import Handler, Tls, answer, serving

from edge_client.transport import ClockError, Recovered, Server, Transport, Trouble
from edge_client.transport import http as http_module
from edge_client.transport.patience import LONGEST_DELAY, LONGEST_RETRY_AFTER, delays, retry_after
from fedit_shared.errors import (
    ConflictError,
    ForgedError,
    IncompatibleError,
    ProtocolError,
    UnauthorizedError,
)
from fedit_shared.identity import SigningKey, verify_request
from fedit_shared.messages import PROTOCOL_HEADER, Accepted, Leave, Poll, Refused, Wait

KEY = SigningKey(bytes(range(32)))
FEDERATION = b"f" * 32
TLS = Tls()


def linked(handler: Handler, folder: Path, told: list[object], work: Callable[[Transport], Awaitable[None]]) -> None:
    """Run ``work`` with a transport to a server that answers with ``handler``."""

    async def go() -> None:
        async with serving(handler, folder, TLS) as port:
            server = Server(f"https://127.0.0.1:{port}", TLS.pin, FEDERATION)
            async with Transport(server, KEY, told.append, clock=time.time, base=0.001) as transport:
                await work(transport)

    asyncio.run(go())


def in_turn(*replies: web.Response | None) -> Handler:
    """Answers in that order, the last again and again; None: the connection is dropped."""
    queue = list(replies)

    async def handler(request: web.Request) -> web.StreamResponse:
        await request.read()
        reply = queue.pop(0) if len(queue) > 1 else queue[0]
        if reply is None:
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        return web.Response(status=reply.status, body=reply.body, headers=reply.headers)  # one is sent only once

    return handler


def problems(told: list[object]) -> list[str]:
    return [news.problem for news in told if isinstance(news, Trouble)]


def test_a_compressed_answer_is_never_unpacked(tmp_path: Path) -> None:
    """A few KiB on the line could be GiB in memory."""
    plain = answer(Accepted())
    packed = web.Response(body=gzip.compress(plain.body), headers={**plain.headers, "Content-Encoding": "gzip"})

    async def work(transport: Transport) -> None:
        with pytest.raises(ProtocolError, match="could not be read"):
            await transport.send(Leave())

    linked(in_turn(packed), tmp_path, [], work)


def test_a_request_tells_nothing_of_the_machine_in_its_headers(tmp_path: Path) -> None:
    seen: list[dict[str, str]] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        seen.append({name.lower(): value for name, value in request.headers.items()})
        return answer(Accepted())

    async def work(transport: Transport) -> None:
        await transport.send(Leave())

    linked(handler, tmp_path, [], work)
    [headers] = seen
    assert headers["user-agent"] == "fedit-client", "no version of the client's, Python's or a library's"
    needed = {"host", "authorization", "content-type", "content-length", "accept", "accept-encoding"}
    assert headers.keys() <= needed | {"user-agent", PROTOCOL_HEADER.lower()}


def test_a_busy_server_and_a_broken_connection_are_waited_out(tmp_path: Path) -> None:
    told: list[object] = []
    busy = answer(Refused(code="internal", message="The disk is full."), 503)
    balancer = web.Response(status=502, text="<html>Bad gateway</html>")

    async def work(transport: Transport) -> None:
        assert await transport.send(Leave()) == Accepted()

    linked(in_turn(balancer, busy, None, None, answer(Accepted())), tmp_path, told, work)
    assert any("HTTP 502" in problem for problem in problems(told))
    assert any("The disk is full." in problem for problem in problems(told))
    assert isinstance(told[-1], Recovered)


def test_every_try_is_signed_anew(tmp_path: Path) -> None:
    nonces: list[bytes] = []

    async def handler(request: web.Request) -> web.StreamResponse:
        body = await request.read()
        token = verify_request(
            request.headers["Authorization"], FEDERATION, "POST", request.path, body, now=int(time.time())
        )
        assert token.identity == KEY.public
        nonces.append(token.nonce)
        return web.Response(status=502) if len(nonces) < 3 else answer(Accepted())

    async def work(transport: Transport) -> None:
        await transport.send(Leave())

    linked(handler, tmp_path, [], work)
    assert len(set(nonces)) == 3


def test_a_server_that_is_away_is_awaited_and_said_to_be(tmp_path: Path) -> None:
    async def go() -> None:
        with socket.socket() as reserved:
            reserved.bind(("127.0.0.1", 0))
            port = reserved.getsockname()[1]
        told: asyncio.Queue[object] = asyncio.Queue()
        server = Server(f"https://127.0.0.1:{port}", TLS.pin, FEDERATION)
        async with Transport(server, KEY, told.put_nowait, clock=time.time, base=0.01) as transport:
            waiting = asyncio.create_task(transport.send(Leave()))
            assert problems([await told.get()]) == ["the server does not answer"]
            async with serving(in_turn(answer(Accepted())), tmp_path, TLS, port):
                assert await waiting == Accepted()

    asyncio.run(go())


def test_waiting_can_be_cancelled(tmp_path: Path) -> None:
    async def work(transport: Transport) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await transport.send(Leave())

    linked(in_turn(web.Response(status=502)), tmp_path, [], work)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("conflict", 409, ConflictError),
        ("forged", 403, ForgedError),
        ("incompatible", 426, IncompatibleError),
        ("unauthorized", 401, UnauthorizedError),
        ("unheard-of", 400, ProtocolError),
    ],
)
def test_a_refusal_is_raised_as_its_code_says_with_the_servers_advice(
    tmp_path: Path, code: str, status: int, kind: type[ProtocolError]
) -> None:
    async def work(transport: Transport) -> None:
        with pytest.raises(kind) as refusal:
            await transport.send(Leave())
        assert "Not like this." in refusal.value.message
        assert refusal.value.advice == "The server advises: Like that.", "not in the client's own name"

    refused = Refused(code=code, message="Not like this.", advice="Like that.", server_time=int(time.time()))
    linked(in_turn(answer(refused, status)), tmp_path, [], work)


def test_a_request_taken_for_a_replay_is_signed_anew_once(tmp_path: Path) -> None:
    replayed = answer(Refused(code="unauthorized", message="Sent before.", server_time=int(time.time())), 401)

    async def work(transport: Transport) -> None:
        assert await transport.send(Leave()) == Accepted()

    linked(in_turn(replayed, answer(Accepted())), tmp_path, [], work)


def test_a_clock_that_is_off_is_named_with_its_distance(tmp_path: Path) -> None:
    async def work(transport: Transport) -> None:
        with pytest.raises(ClockError, match=r"clock is 3 hours behind the server's.*network time"):
            await transport.send(Leave())

    refused = Refused(code="unauthorized", message="Too old.", server_time=int(time.time()) + 3 * 3600)
    linked(in_turn(answer(refused, 401)), tmp_path, [], work)


def test_clocks_that_come_apart_once_the_server_was_met_are_waited_for(tmp_path: Path) -> None:
    """Whichever of the two was set wrong, and for however long: no device is to drop out of its rounds for it."""
    told: list[object] = []

    async def work(transport: Transport) -> None:
        assert await transport.send(Leave()) == Accepted()
        assert await transport.send(Leave()) == Accepted()

    refused = Refused(code="unauthorized", message="Too new.", server_time=int(time.time()) - 5 * 3600)
    linked(in_turn(answer(Accepted()), answer(refused, 401), answer(Accepted())), tmp_path, told, work)
    assert problems(told) == ["this machine's clock is 5 hours ahead of the server's"]
    assert isinstance(told[-1], Recovered)


def test_devices_that_are_asked_to_wait_together_do_not_come_back_together(tmp_path: Path) -> None:
    told: list[object] = []

    async def work(transport: Transport) -> None:
        await transport.send(Leave())

    many = answer(Refused(code="unavailable", message="Too many requests."), 429, {"Retry-After": "1"})
    for _ in range(2):
        linked(in_turn(many, answer(Accepted())), tmp_path, told, work)
    pauses = [news.seconds for news in told if isinstance(news, Trouble)]
    assert len(set(pauses)) == len(pauses) == 2


def test_a_server_that_asks_to_wait_is_given_the_time_it_asks_for(tmp_path: Path) -> None:
    told: list[object] = []

    async def work(transport: Transport) -> None:
        await transport.send(Leave())

    many = answer(Refused(code="busy", message="Too many requests."), 429, {"Retry-After": "1"})
    linked(in_turn(many, answer(Accepted())), tmp_path, told, work)
    trouble = told[0]
    assert isinstance(trouble, Trouble)
    assert trouble.seconds >= 1


def test_a_message_larger_than_any_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_module, "MESSAGE_LIMIT", 2**16)
    written = 0

    async def handler(request: web.Request) -> web.StreamResponse:
        nonlocal written
        response = web.StreamResponse(headers={"Fedit-Protocol": "1"})
        await response.prepare(request)
        for _ in range(2**12):
            await response.write(bytes(2**16))
            written += 2**16
        return response

    async def work(transport: Transport) -> None:
        with pytest.raises(ProtocolError, match="larger than any"):
            await transport.send(Leave())

    linked(handler, tmp_path, [], work)
    assert written < 2**27


def test_a_held_question_may_take_as_long_as_it_allows(tmp_path: Path) -> None:
    async def work(transport: Transport) -> None:
        poll = Poll(round=1, after="mustered", wait=50)
        assert await transport.send(poll, wait=50) == Wait(reason="Soon.", seconds=0)

    linked(in_turn(answer(Wait(reason="Soon.", seconds=0))), tmp_path, [], work)


def test_rubbish_from_the_server_is_refused(tmp_path: Path) -> None:
    async def work(transport: Transport) -> None:
        with pytest.raises(ProtocolError, match="could not be read"):
            await transport.send(Leave())

    linked(in_turn(web.Response(body=b"\xc1", headers={"Fedit-Protocol": "1"})), tmp_path, [], work)


def test_redirections_are_not_followed(tmp_path: Path) -> None:
    told: list[object] = []

    async def work(transport: Transport) -> None:
        assert await transport.send(Leave()) == Accepted()

    moved = web.Response(status=302, headers={"Location": "https://127.0.0.1:9/"})
    linked(in_turn(moved, answer(Accepted())), tmp_path, told, work)
    assert "not as a federation's server (HTTP 302)" in problems(told)[0]


def test_pauses_double_up_to_a_minute_and_are_never_the_same_for_all() -> None:
    pauses = delays()
    first = [next(pauses) for _ in range(12)]
    assert all(0.5 <= pause <= 1.0 for pause in first[:1])
    assert all(LONGEST_DELAY / 2 <= pause <= LONGEST_DELAY for pause in first[6:])
    assert first != [next(delays()) for _ in range(12)]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, 0),
        ("7", 7),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 40),
        ("nonsense", 0),
        ("999999999", LONGEST_RETRY_AFTER),
        ("Thu, 01 Jan 1970 00:00:01 GMT", 0),
    ],
)
def test_retry_after_is_read_as_seconds_or_date_within_bounds(header: str | None, seconds: float) -> None:
    assert retry_after(header, now=60.0) == seconds
