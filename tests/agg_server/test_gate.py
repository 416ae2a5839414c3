"""Requests before they reach any handler: remembered numbers, slow senders."""

import asyncio
from collections.abc import Callable

import pytest
from aiohttp import web

from agg_server.driver.waiting import Waiting
from agg_server.errors import GoneError, SlowError
from agg_server.web import reading
from agg_server.web.auth import Gate, Nonces
from agg_server.web.limits import Memory, Pace
from agg_server.web.reading import Reader
from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity.requests import LIFETIME


def test_a_number_is_remembered_as_long_as_its_token_is_good_and_forgotten_later():
    clock = [0.0]
    nonces = Nonces(lambda: clock[0])
    nonces.use(b"first")
    for time in (LIFETIME, 2.0 * LIFETIME):
        clock[0] = time
        with pytest.raises(UnauthorizedError):
            nonces.use(b"first")
    for step in range(1, 10):
        clock[0] = 2.0 * LIFETIME + step * 2.1 * LIFETIME
        nonces.use(b"other%d" % step)
    nonces.use(b"first")
    assert len(nonces._new) + len(nonces._old) <= 4


async def refusal_of(request: bytes, *, hang_up: bool = False) -> Exception:
    """What a Reader of bodies of at most 500 bytes raises for ``request``, after which the sender falls silent."""
    said: asyncio.Future[Exception] = asyncio.get_running_loop().create_future()

    async def offload(work: Callable[[], object]) -> object:
        return work()

    reader = Reader(Gate(bytes(32), lambda: (), lambda: 0.0), offload, Pace(60, lambda: 0.0), Memory())

    async def handle(request: web.Request) -> web.Response:
        try:
            await reader.body(request, 500)
        except Exception as error:
            said.set_result(error)
        return web.Response()

    app = web.Application()
    app.add_routes([web.post("/", handle)])
    runner = web.AppRunner(app, lingering_time=0.0, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        _, sender = await asyncio.open_connection(*runner.addresses[0][:2])
        sender.write(request)
        if hang_up:
            await sender.drain()
            sender.close()
        async with asyncio.timeout(30):
            return await said
    finally:
        sender.close()
        await runner.cleanup()


def test_a_sender_that_stalls_is_let_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(reading, "PATIENCE_SECONDS", 0.05)
    error = asyncio.run(refusal_of(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\nabc"))
    assert isinstance(error, SlowError)
    assert "slowly" in error.message
    assert error.http_status == 408  # a client tries again: its machine may have slept


def test_a_sender_that_hangs_up_in_its_body_has_gone():
    for body in (b"Content-Length: 500\r\n\r\nabc", b"Transfer-Encoding: chunked\r\n\r\n4\r\nab"):
        error = asyncio.run(refusal_of(b"POST / HTTP/1.1\r\nHost: x\r\n" + body, hang_up=True))
        assert isinstance(error, GoneError), error


def test_a_long_poll_is_woken_by_a_change_of_its_own_topic_only():
    async def run() -> None:
        waiting, answers = Waiting(), {b"a": 0, b"b": 0}
        looked: list[bytes] = []
        both = asyncio.Event()
        waiting.update({b"a": 0, b"b": 0})

        def poll(topic: bytes) -> "asyncio.Task[int | str]":
            async def look() -> int | str:
                looked.append(topic)
                if len(looked) == 2:
                    both.set()
                return "changed" if answers[topic] else 0

            return asyncio.create_task(waiting.until(topic, 60, look, int))

        held = {topic: poll(topic) for topic in answers}
        await both.wait()
        answers[b"a"] = 1
        waiting.update({b"a": 1, b"b": 0})
        assert await held[b"a"] == "changed"
        assert looked.count(b"b") == 1
        waiting.close()
        assert await held[b"b"] == 0

    asyncio.run(run())


def test_a_topic_that_nobody_knows_is_not_waited_for_nor_remembered():
    async def run() -> None:
        waiting = Waiting()

        async def look() -> int:
            return 0

        assert await waiting.until(b"unknown", 60, look, int) == 0
        assert not waiting._changed

    asyncio.run(run())
