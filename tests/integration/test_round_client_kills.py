"""A client is killed at every write of its state, in a real process, and started again: every sum is exact and has it.

The points are found by a disk that notes each write and removal, not by guessing times.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
from participants import Victim, plain_of, quick_client, run_client
from safetensors.numpy import load_file
from server_process import ServerProcess

from edge_client.state import FederationState, history
from fedit_shared.identity import JoinLink

STEADY = 3
VICTIMS = 2


@asynccontextmanager
async def federation(root: Path, size: int) -> AsyncIterator[tuple[ServerProcess, list[Path]]]:
    """A server that waits for ``size`` devices each round, and three that are always there."""
    server = ServerProcess(root, target=size, scale=256, muster_window="10min")
    server.start()
    try:
        links = server.invite("--count", STEADY)
        homes = [root / f"steady{number}" for number in range(STEADY)]
        async with taking_part(links, homes):
            yield server, homes
    finally:
        server.stop()


@asynccontextmanager
async def taking_part(links: list[JoinLink], homes: list[Path]) -> AsyncIterator[None]:
    """Meanwhile, clients work in these homes."""
    working = [
        asyncio.create_task(run_client(quick_client(link, home))) for link, home in zip(links, homes, strict=True)
    ]
    try:
        yield
    finally:
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)


def assert_all_exact(server: ServerProcess, homes: list[Path], size: int) -> int:
    """How many rounds have ended: each was published, from ``size`` of the homes, as the exact integer sum."""
    ended = [round for round in server.rounds() if round["ended"]]
    for round in ended:
        assert round["outcome"] == "published", round
        [cohort] = round["cohorts"]
        plain = [slots for home in homes if (slots := plain_of(home, cohort["cohort"])) is not None]
        assert len(plain) == len(cohort["survivors"]) == size, round
        assert np.array_equal(load_file(cohort["sum"])["slots"], sum(plain)), round
    return len(ended)


def assert_remembered(home: Path, server: ServerProcess) -> None:
    """The device's own record of its rounds is what the server knows of them: each once, sent, and counted."""
    over = [entry for entry in history(FederationState(home / "state").attempts) if entry.outcome is not None]
    published = [round["round"] for round in server.rounds() if round["ended"]]
    assert [entry.round for entry in over] == published[: len(over)]
    assert len(published) - len(over) <= 1, "the last one may have been cut off"
    for entry in over:
        assert (entry.outcome, entry.counted, entry.survivors) == ("published", True, STEADY + VICTIMS)
        assert entry.sent
        assert entry.bytes_up


def test_a_client_killed_at_any_write_goes_on_and_its_update_is_in_the_exact_sum(tmp_path: Path) -> None:
    async def go() -> None:
        async with federation(tmp_path, STEADY + VICTIMS) as (server, homes):
            links = server.invite("--count", VICTIMS)
            victims = [Victim(link, tmp_path / f"victim{number}") for number, link in enumerate(links)]
            for _ in range(2):  # the second round writes nothing that is written once only
                assert await asyncio.gather(*(victim.run() for victim in victims)) == [0] * VICTIMS
            points = victims[0].points()
            for name in ("key", "mustered", "roster", "vector", "deal", "prepare", "vote", "answer", "ended"):
                assert {f"within rounds/{name}#1", f"after rounds/{name}#1"} <= set(points)
            over = asyncio.Barrier(VICTIMS)

            async def tour(victim: Victim, points: list[str]) -> None:
                for point in points:
                    assert await victim.run(kill_at=point) == -9, point
                    assert await victim.run() == 0, point
                async with taking_part([victim.link], [victim.home]):  # until the others are through as well
                    await over.wait()

            async with asyncio.TaskGroup() as tours:
                for number, victim in enumerate(victims):
                    tours.create_task(tour(victim, points[number::VICTIMS]))
            everyone = [*homes, *(victim.home for victim in victims)]
            assert assert_all_exact(server, everyone, STEADY + VICTIMS) >= len(points) / VICTIMS
            for victim in victims:
                assert_remembered(victim.home, server)

    asyncio.run(go())


def test_a_client_killed_while_it_joins_joins_with_the_same_single_use_link_and_takes_part(tmp_path: Path) -> None:
    async def go() -> None:
        async with federation(tmp_path, STEADY + 1) as (server, homes):
            first = Victim(server.invite()[0], tmp_path / "first")
            assert await first.run() == 0
            once = [point for point in first.points() if "/" not in point and "updates" not in point]
            assert {"after identity#1", "after preferences#1", "after membership#2", "after tasks#1"} <= set(once)
            victims = [first]
            for number, point in enumerate(once):
                victim = Victim(server.invite()[0], tmp_path / f"victim{number}")
                victims.append(victim)
                assert await victim.run(kill_at=point) == -9, point
                assert await victim.run() == 0, point
            everyone = [*homes, *(victim.home for victim in victims)]
            assert assert_all_exact(server, everyone, STEADY + 1) >= len(victims)

    asyncio.run(go())
