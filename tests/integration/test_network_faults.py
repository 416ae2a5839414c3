"""Real clients and a real server over a line that fails: every round ends with the exact sum, and clients say in one
line what they wait for."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from aiohttp import ClientTimeout, web
from balancer import Balancer
from lines import HOME_UPLINK, Line
from participants import plain_of, quick_client
from safetensors.numpy import load_file
from server_process import ServerProcess

from edge_client.client import Event, Retrying, RoundFinished, Uploading, describe, participation, worker
from edge_client.transport import download, http
from fedit_shared.identity import JoinLink
from fedit_shared.messages import CHUNK_SIZE

SIZE = 3
IN_FULL = bool(os.environ.get("FEDIT_TESTS_IN_FULL"))
Hear = Callable[[Event], object]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """One federation for all: each test has a round of its own, of devices of its own. An upload has 3 chunks."""
    server = ServerProcess(tmp_path_factory.mktemp("faults"), target=SIZE, scale=300, muster_window="10min")
    server.configure("server", unsigned_requests=100000)
    server.start()
    yield server
    server.stop()


async def round_over(
    server: ServerProcess,
    ports: list[int],
    folder: Path,
    hear: Hear = lambda event: None,
    *,
    last_waits_for: asyncio.Event | None = None,
) -> list[list[Event]]:
    """A round of devices that reach the server at these ports, and what each has said. It was published, with the exact
    sum over all of them; ``hear`` is told all events at once."""
    homes = [folder / str(number) for number in range(len(ports))]
    links = [
        replace(link, address=f"https://127.0.0.1:{port}")
        for link, port in zip(await asyncio.to_thread(server.invite, "--count", len(ports)), ports, strict=True)
    ]
    async with asyncio.timeout(580):
        awaited = [None] * (len(ports) - 1) + [last_waits_for]
        works = (_listened(*given, hear) for given in zip(links, homes, awaited, strict=True))
        said = await asyncio.gather(*works)
    ended = next(event for event in said[0] if isinstance(event, RoundFinished))
    told = next(round for round in await asyncio.to_thread(server.rounds) if round["round"] == ended.round)
    assert told["outcome"] == "published", told
    [cohort] = told["cohorts"]
    plain = [plain_of(home, cohort["cohort"]) for home in homes]
    assert np.array_equal(load_file(cohort["sum"])["slots"], sum(slots for slots in plain if slots is not None))
    assert len(cohort["survivors"]) == len(homes)
    for events in said:
        assert all("\n" not in (words := describe(event)) and "<" not in words for event in events)
    return said


async def _listened(link: JoinLink, home: Path, awaited: asyncio.Event | None, hear: Hear) -> list[Event]:
    said: list[Event] = []
    if awaited is not None:
        await awaited.wait()
    async with quick_client(link, home) as client:
        async for event in client.run(1):
            said.append(event)
            hear(event)
    return said


def troubles(said: list[list[Event]]) -> set[str]:
    return {event.problem for events in said for event in events if isinstance(event, Retrying)}


@asynccontextmanager
async def over(line: Line | Balancer) -> AsyncIterator[list[int]]:
    """The ports of devices that are all at the end of this line."""
    opened: AbstractAsyncContextManager[int] = line.open()
    async with opened as port:
        yield [port] * SIZE


def test_a_slow_line_with_long_ways_is_no_trouble(server: ServerProcess, tmp_path: Path) -> None:
    async def go() -> None:
        async with over(Line(server.port, rate=HOME_UPLINK, delay=0.1)) as ports:
            assert troubles(await round_over(server, ports, tmp_path)) == set()

    asyncio.run(go())


def test_connections_that_are_reset_in_mid_chunk_and_in_mid_adapter_lose_little(
    server: ServerProcess, tmp_path: Path
) -> None:
    line = Line(server.port, rate=2 * HOME_UPLINK, cut_after=CHUNK_SIZE * 3 // 2, cut_down_after=700_000)

    async def go() -> None:
        async with over(line) as ports:
            said = await round_over(server, ports, tmp_path)
        assert troubles(said) == {"the connection broke"}
        sent = SIZE * next(event.total for event in said[0] if isinstance(event, Uploading))
        assert line.bytes_up < sent + 2 * SIZE * CHUNK_SIZE  # each upload is broken off once, or twice
        adapter = server.folder / "adapter" / "adapter_model.safetensors"
        assert line.bytes_down < 1.25 * SIZE * adapter.stat().st_size  # it goes on where it broke off

    asyncio.run(go())


def test_answers_that_are_lost_are_asked_for_again_and_count_once(server: ServerProcess, tmp_path: Path) -> None:
    heard: set[tuple[str, str]] = set()

    def first_time(request: web.Request) -> bool:
        device = request.headers.get("Authorization", "")[:40]
        new = request.method != "GET" and (device, request.path) not in heard
        heard.add((device, request.path))
        return new

    async def go() -> None:
        balancer = Balancer(server, loses=first_time)
        async with over(balancer) as ports:
            said = await round_over(server, ports, tmp_path)
        assert troubles(said) == {"the connection broke"}
        assert balancer.lost > 20
        size = next(event.total for event in said[0] if isinstance(event, Uploading))
        for events in said:
            [end] = [event for event in events if isinstance(event, RoundFinished)]
            assert end.bytes_up < size + CHUNK_SIZE // 2  # no chunk went up twice

    asyncio.run(go())


def test_a_balancer_that_answers_for_a_server_that_it_does_not_reach_is_waited_out(
    server: ServerProcess, tmp_path: Path
) -> None:
    asked = 0

    def now_and_then(request: web.Request) -> int | None:
        nonlocal asked
        asked += 1
        return (502, None, 503, None, 504, None)[asked % 6]

    async def go() -> None:
        async with over(Balancer(server, answers=now_and_then)) as ports:
            said = await round_over(server, ports, tmp_path)
        problems = troubles(said)
        assert all("answers, but not as a federation's server (HTTP 50" in problem for problem in problems)
        assert len(problems) > 1

    asyncio.run(go())


def test_a_server_that_is_not_there_for_a_while_is_waited_for(server: ServerProcess, tmp_path: Path) -> None:
    async def go() -> None:
        line, gone = Line(server.port), asyncio.Event()
        async with over(line) as ports:

            async def go_away() -> None:
                await gone.wait()
                async with line.away(ports[0]):
                    await told.wait()

            told = asyncio.Event()
            going = asyncio.create_task(go_away())

            def hear(event: Event) -> None:
                if isinstance(event, Uploading):
                    gone.set()
                if isinstance(event, Retrying) and event.problem == "the server does not answer":
                    told.set()

            await round_over(server, ports, tmp_path, hear)
            assert going.done()

    asyncio.run(go())


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients give up a request after seconds, not after a minute."""
    for module in (participation, worker):
        monkeypatch.setattr(module, "HOLD_SECONDS", 2)
    for name, value in (("ANSWER_SECONDS", 4.0), ("CONNECT_SECONDS", 4.0), ("SLOWEST_BYTES_PER_SECOND", 2**20)):
        monkeypatch.setattr(http, name, value)
    monkeypatch.setattr(download, "_TIMEOUT", ClientTimeout(total=None, sock_connect=4.0, sock_read=4.0))


@pytest.mark.parametrize("after", [0, 1000, CHUNK_SIZE * 3 // 2], ids=["at once", "in a message", "in a chunk"])
@pytest.mark.usefixtures("impatient")
def test_a_line_that_goes_silent_without_a_word_is_given_up_and_tried_again(
    server: ServerProcess, tmp_path: Path, after: int
) -> None:
    async def go() -> None:
        line = Line(server.port, swallow_after=after)

        def hear(event: Event) -> None:
            if isinstance(event, Retrying):
                line.swallow_after = None

        async with over(line) as ports:
            assert troubles(await round_over(server, ports, tmp_path, hear)) == {"the server does not answer"}

    asyncio.run(go())


def test_questions_that_are_held_too_long_for_a_router_are_asked_again(server: ServerProcess, tmp_path: Path) -> None:
    """One device comes last; until then the others' questions, held by the server, are cut off for silence."""

    async def go() -> None:
        line, cut = Line(server.port, cut_idle=1.0), asyncio.Event()

        def hear(event: Event) -> None:
            if isinstance(event, Retrying):
                cut.set()

        async with over(line) as ports:
            said = await round_over(server, ports, tmp_path, hear, last_waits_for=cut)
        assert troubles(said) == {"the connection broke"}

    asyncio.run(go())


def test_a_large_upload_over_a_line_that_keeps_breaking_sends_at_most_one_chunk_twice_for_each_break(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """In full: 48 MB over a home's 20 Mbit/s, reset every 5 s. Else 12 MB, reset so often that it breaks as often."""
    size = 48_000_000 if IN_FULL else 12_000_000
    server = ServerProcess(tmp_path, target=SIZE, scale=size // 4096, muster_window="10min")
    server.start()

    async def go() -> Line:
        line = Line(server.port)

        def hear(event: Event) -> None:
            if isinstance(event, Uploading) and event.sent == 0:
                line.rate, line.delay = (HOME_UPLINK, 0.02) if IN_FULL else (None, 0.0)
                line.cut_every, line.cut_after = (5.0, None) if IN_FULL else (None, 3_000_000)

        async with line.open() as port:
            said = await round_over(server, [port, server.port, server.port], tmp_path, hear)
        assert troubles(said)
        assert size < next(event.total for event in said[0] if isinstance(event, Uploading)) < 1.01 * size
        return line

    try:
        line = asyncio.run(go())
    finally:
        server.stop()
    assert line.opened > 3
    assert line.bytes_up < size + line.opened * CHUNK_SIZE
    if IN_FULL:
        with capsys.disabled():
            print(f"\n{size} bytes needed {line.bytes_up} on the line, over {line.opened} connections")
        assert line.bytes_up < 1.1 * size
