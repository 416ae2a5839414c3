"""What happens to a round when the server's machine fails it: stops, locks, clocks."""

import asyncio
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lines import Line
from participants import plain_of, quick_client
from safetensors.numpy import load_file
from server_process import ServerProcess

from edge_client.client import (
    Contributed,
    Declined,
    Event,
    Reconnected,
    Retrying,
    RosterAccepted,
    RoundFinished,
    Uploading,
)
from fedit_shared.messages import CHUNK_SIZE

SIZE = 3
HOUR = 3600
Hear = Callable[[int, Event], object]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path, target=SIZE, scale=300, clock=True, muster_window="10min")
    yield server
    server.stop()


class Group:
    """Real clients, and what they say; ``hear`` is told each event with its device's number."""

    def __init__(self, server: ServerProcess, root: Path, hear: Hear = lambda number, event: None) -> None:
        self._server = server
        self._homes = [root / f"device{number}" for number in range(SIZE)]
        self._hear = hear
        self.said: list[list[Event]] = [[] for _ in range(SIZE)]

    async def work(self, rounds: int, *, port: int | None = None) -> None:
        """Until so many updates of each are in. ``port``: where the first one reaches the server."""
        links = await asyncio.to_thread(self._server.invite, "--count", SIZE)
        if port is not None:
            links[0] = replace(links[0], address=f"https://127.0.0.1:{port}")

        async def one(number: int) -> None:
            async with quick_client(links[number], self._homes[number]) as client:
                async for event in client.run(rounds):
                    self.said[number].append(event)
                    self._hear(number, event)

        async with asyncio.timeout(540):
            await asyncio.gather(*map(one, range(SIZE)))

    def problems(self) -> set[str]:
        return {event.problem for said in self.said for event in said if isinstance(event, Retrying)}

    def ends(self) -> list[list[str]]:
        return [[event.outcome for event in said if isinstance(event, RoundFinished)] for said in self.said]

    def assert_exact(self) -> list[dict[str, Any]]:
        """All rounds that have ended: each that was published is the exact sum over its survivors."""
        ended = [round for round in self._server.rounds() if round["ended"]]
        for round in ended:
            if round["outcome"] == "published":
                [cohort] = round["cohorts"]
                plain = [slots for home in self._homes if (slots := plain_of(home, cohort["cohort"])) is not None]
                assert len(plain) == len(cohort["survivors"])
                assert np.array_equal(load_file(cohort["sum"])["slots"], sum(plain)), round
        return ended


def test_a_stop_in_mid_upload_answers_the_chunk_under_way_and_nothing_goes_up_twice(
    server: ServerProcess, tmp_path: Path
) -> None:
    line = Line(server.port, rate=800_000)
    server.start()

    async def go() -> None:
        sending, statuses = asyncio.Event(), []

        async def stop_and_start() -> None:
            await sending.wait()
            await line.carried(CHUNK_SIZE // 3)
            statuses.append(await asyncio.to_thread(server.stop))
            await asyncio.to_thread(server.start)

        def hear(number: int, event: Event) -> None:
            if number == 0 and isinstance(event, Uploading):
                sending.set()

        group = Group(server, tmp_path, hear)
        async with line.open() as port, asyncio.TaskGroup() as both:
            both.create_task(stop_and_start())
            await group.work(1, port=port)
        assert statuses == [0]
        [size] = {event.total for event in group.said[0] if isinstance(event, Uploading)}
        assert size < line.bytes_up < size + CHUNK_SIZE // 4  # what is asked and answered besides
        assert {event.sent for event in group.said[0] if isinstance(event, Uploading)} >= {0, CHUNK_SIZE, size}
        assert group.assert_exact()[0]["outcome"] == "published"

    asyncio.run(go())


def test_a_locked_database_is_waited_for_and_said_to_be(server: ServerProcess, tmp_path: Path) -> None:
    """Another program holds it in the middle of a round, for longer than the server itself waits."""
    server.start()

    async def go() -> None:
        mustered, told = asyncio.Event(), asyncio.Event()

        def hear(number: int, event: Event) -> None:
            if isinstance(event, RosterAccepted):
                mustered.set()
            if isinstance(event, Retrying) and "locked" in event.problem:
                told.set()

        async def lock() -> None:
            await mustered.wait()
            with closing(sqlite3.connect(server.folder / "server.sqlite3", timeout=60)) as other:
                other.execute("BEGIN IMMEDIATE")
                await told.wait()

        group = Group(server, tmp_path, hear)
        async with asyncio.TaskGroup() as both:
            both.create_task(lock())
            await group.work(1)
        assert group.problems() == {"the server says: The database is locked by another program."}
        assert any(isinstance(event, Reconnected) for said in group.said for event in said)
        assert group.assert_exact()[0]["outcome"] == "published"
        assert "Traceback" not in server.log.read_text()

    asyncio.run(go())


async def cohort_leaves(server: ServerProcess, phase: str) -> None:
    """Wait until the first round's cohort is in this phase no more."""
    for _ in range(960):
        [cohort] = (await asyncio.to_thread(server.rounds))[0]["cohorts"]
        if cohort["phase"] != phase:
            return
        await asyncio.sleep(0.25)
    raise AssertionError(f"the cohort stays in {phase}")


@pytest.mark.parametrize(
    ("hours", "after"),
    [(-5, RosterAccepted), (5, Contributed)],
    ids=["back before the uploads", "forward after them"],
)
def test_a_servers_clock_that_jumps_and_is_set_right_again_costs_no_round(
    server: ServerProcess, tmp_path: Path, hours: int, after: type[Event]
) -> None:
    server.start()

    async def go() -> None:
        there: set[int] = set()

        def hear(number: int, event: Event) -> None:
            if isinstance(event, after) and event.round == 1:
                there.add(number)
                if len(there) == SIZE:  # nobody has anything under way that a clock could close before it arrives
                    server.shift_clock(hours * HOUR)
            if isinstance(event, Retrying) and "clock" in event.problem:
                server.shift_clock(0)

        group = Group(server, tmp_path, hear)
        await group.work(2)
        ahead = "behind" if hours > 0 else "ahead of"
        assert f"this machine's clock is {abs(hours)} hours {ahead} the server's" in group.problems()
        assert [round["outcome"] for round in group.assert_exact()] == ["published", "published"]

    asyncio.run(go())


def test_a_deadline_that_a_clock_jumps_over_ends_the_round_by_name_and_the_next_one_counts(
    server: ServerProcess, tmp_path: Path
) -> None:
    server.start()

    async def go() -> None:
        seated = asyncio.Event()

        def hear(number: int, event: Event) -> None:
            if isinstance(event, RosterAccepted) and event.round == 1:
                server.shift_clock(5 * HOUR)
                seated.set()

        async def set_right() -> None:
            await seated.wait()
            await cohort_leaves(server, "contribute")
            server.shift_clock(0)

        group = Group(server, tmp_path, hear)
        async with asyncio.TaskGroup() as both:
            both.create_task(set_right())
            await group.work(1)
        first, *later = group.assert_exact()
        assert first["outcome"] != "published"
        assert "of 3" in first["reason"]
        assert later[0]["outcome"] == "published"

    asyncio.run(go())


def test_an_adapter_that_the_server_has_not_costs_a_client_an_attempt_and_not_its_life(
    server: ServerProcess, tmp_path: Path
):
    server.start()
    [file] = (server.folder / "blobs" / "adapters").glob("*.safetensors")
    aside = file.rename(tmp_path / "aside")

    def hear(number: int, event: Event) -> None:
        if isinstance(event, Declined) and aside.exists():
            aside.rename(file)

    group = Group(server, tmp_path, hear)
    asyncio.run(group.work(1))
    declined = [event.reason for said in group.said for event in said if isinstance(event, Declined)]
    assert declined
    assert all("no such adapter version" in reason for reason in declined)
    assert server.rounds()[0]["outcome"] == "published"
