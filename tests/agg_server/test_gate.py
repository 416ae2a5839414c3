"""Requests before they reach any handler: remembered numbers, slow senders."""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import sleep

import pytest
from aiohttp import web

from agg_server.driver.waiting import Waiting
from agg_server.errors import GoneError, SlowError, UnavailableError
from agg_server.turns import EACH
from agg_server.web import reading
from agg_server.web.auth import Gate, Nonces
from agg_server.web.limits import Memory, Pace
from agg_server.web.reading import Reader
from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity.requests import LIFETIME

START = 1_000_000 * LIFETIME


def test_a_number_is_remembered_as_long_as_its_token_is_good_and_forgotten_later():
    clock = [float(START)]
    nonces = Nonces(lambda: clock[0])
    for time in (START - LIFETIME, START, START + LIFETIME):
        nonces.use(b"first", time)
    for later in (LIFETIME, 2 * LIFETIME):
        clock[0] = START + later
        with pytest.raises(UnauthorizedError):
            nonces.use(b"first", START + LIFETIME)
    for step in range(1, 20):
        clock[0] = START + step * LIFETIME
        nonces.use(b"other%d" % step, START + step * LIFETIME)
        nonces.use(b"slow%d" % step, START + (step - 1) * LIFETIME)
        nonces.use(b"fast%d" % step, START + (step + 1) * LIFETIME)
    assert sum(map(len, nonces._used.values())) <= 12


def test_a_replay_is_refused_however_the_clock_jumps():
    clock = [float(START)]
    nonces = Nonces(lambda: clock[0])
    nonces.use(b"first", START)
    for jump in (3600, 86400):
        clock[0] = START + jump
        nonces.use(b"at %d" % jump, START + jump)
    clock[0] = START + 30
    with pytest.raises(UnavailableError, match="clock was set back"):
        nonces.use(b"first", START)


def test_of_one_request_that_comes_many_times_at_once_one_is_taken():
    class Slow(set[bytes]):
        def __contains__(self, item: object) -> bool:
            found = super().__contains__(item)
            sleep(0.01)
            return found

    nonces = Nonces(lambda: float(START))
    nonces._used[START // LIFETIME] = Slow()

    def taken(_: int) -> bool:
        try:
            nonces.use(b"first", START)
        except UnauthorizedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(taken, range(8))).count(True) == 1


def test_a_clock_that_was_ahead_and_is_set_right_keeps_nobody_out_for_long():
    """The devices' clocks were right all the time: what they signed then is older than what they sign now."""
    clock = [float(START)]
    nonces = Nonces(lambda: clock[0])
    nonces.use(b"first", START)
    clock[0] = START + 3600.0
    with pytest.raises(UnavailableError):  # nobody would get so far: its token is too old by this clock
        nonces.use(b"second", START - LIFETIME)
    clock[0] = START + 600.0
    nonces.use(b"third", START + 600)


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
        async with asyncio.timeout(120):
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


def test_when_many_become_ready_at_once_the_loop_looks_at_others_after_each_few():
    async def run() -> list[int]:
        waiting, loop = Waiting(), asyncio.get_running_loop()
        looks: list[int] = []  # in which pass of the loop
        passes, count, all_wait = 0, 100, asyncio.Event()

        def passing() -> None:
            nonlocal passes
            passes += 1
            if len(looks) < 2 * count:
                loop.call_soon(passing)

        async def look() -> int | str:
            looks.append(passes)
            if len(looks) == count:
                loop.call_soon(all_wait.set)
            return "changed" if len(looks) > count else 0

        waiting.update({b"a": 0})
        held = [asyncio.create_task(waiting.until(b"a", 60, look, int)) for _ in range(count)]
        await all_wait.wait()
        loop.call_soon(passing)
        waiting.update({b"a": 1})
        assert await asyncio.gather(*held) == ["changed"] * count
        return looks[count:]

    assert max(Counter(asyncio.run(run())).values()) == EACH
