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

STEADY = 4


@asynccontextmanager
async def federation(root: Path) -> AsyncIterator[tuple[ServerProcess, list[Path]]]:
    """A server that waits for five devices each round, and four that are always there."""
    server = ServerProcess(root, target=STEADY + 1, scale=256, muster_window="10min")
    server.start()
    try:
        links = server.invite("--count", STEADY)
        homes = [root / f"steady{number}" for number in range(STEADY)]
        clients = [quick_client(link, home) for link, home in zip(links, homes, strict=True)]
        working = [asyncio.create_task(run_client(client)) for client in clients]
        yield server, homes
        for task in working:
            task.cancel()
        await asyncio.gather(*working, return_exceptions=True)
    finally:
        server.stop()


def assert_all_exact(server: ServerProcess, homes: list[Path]) -> int:
    """How many rounds have ended: each was published, from five of the homes, as the exact integer sum."""
    ended = [round for round in server.rounds() if round["ended"]]
    for round in ended:
        assert round["outcome"] == "published", round
        [cohort] = round["cohorts"]
        plain = [slots for home in homes if (slots := plain_of(home, cohort["cohort"])) is not None]
        assert len(plain) == len(cohort["survivors"]) == STEADY + 1, round
        assert np.array_equal(load_file(cohort["sum"])["slots"], sum(plain)), round
    return len(ended)


def test_a_client_killed_at_any_write_goes_on_and_its_update_is_in_the_exact_sum(tmp_path: Path) -> None:
    async def go() -> None:
        async with federation(tmp_path) as (server, homes):
            [link] = server.invite()
            victim = Victim(link, tmp_path / "victim")
            assert await victim.run() == 0
            assert await victim.run() == 0  # the second round writes nothing that is written once only
            points = victim.points()
            for name in ("key", "mustered", "roster", "vector", "deal", "prepare", "vote", "answer", "ended"):
                assert {f"within rounds/{name}#1", f"after rounds/{name}#1"} <= set(points)
            for point in points:
                assert await victim.run(kill_at=point) == -9, point
                assert await victim.run() == 0, point
            assert assert_all_exact(server, [*homes, victim.home]) >= len(points) + 2

    asyncio.run(go())


def test_a_client_killed_while_it_joins_joins_with_the_same_single_use_link_and_takes_part(tmp_path: Path) -> None:
    async def go() -> None:
        async with federation(tmp_path) as (server, homes):
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
            assert assert_all_exact(server, [*homes, *(victim.home for victim in victims)]) >= len(victims)

    asyncio.run(go())
