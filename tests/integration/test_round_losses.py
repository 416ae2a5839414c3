"""What happens to a round, and to an update, when clients vanish, lines break and the server goes away."""

import asyncio
import errno
import os
from collections.abc import AsyncGenerator, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from participants import KillingDisk, QuickClient, plain_of, quick_client, run_client
from safetensors.numpy import load_file
from server_process import WINDOW, ServerProcess

from edge_client.client import (
    Contributed,
    Event,
    Mustered,
    Reconnected,
    Retrying,
    RosterAccepted,
    RoundFinished,
    Trained,
    Voted,
    worker,
)
from edge_client.state import DiskError
from edge_client.training import TrainEvent, TrainJob
from fedit_shared.identity import JoinLink

Serve = Callable[..., ServerProcess]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    servers: list[ServerProcess] = []

    def start(**options: Any) -> ServerProcess:
        server = ServerProcess(tmp_path / "server", muster_window="10min", **options)
        servers.append(server)
        server.start()
        return server

    yield start
    for server in servers:
        server.stop()


async def until(client: QuickClient, stop: Callable[[Event], bool]) -> list[Event]:
    """Run ``client`` until it says what ``stop`` waits for; then it is gone, without a goodbye to anybody."""
    said: list[Event] = []
    async with client:
        async for event in client.run():
            said.append(event)
            if stop(event):
                break
    return said


def assert_exact(server: ServerProcess, number: int, homes: list[Path]) -> dict[str, Any]:
    """Round ``number`` was published, and its sum is the integer sum over just these homes."""
    round = next(round for round in server.rounds() if round["round"] == number)
    assert round["outcome"] == "published", round
    [cohort] = round["cohorts"]
    plain = [plain_of(home, cohort["cohort"]) for home in homes]
    assert np.array_equal(load_file(cohort["sum"])["slots"], sum(slots for slots in plain if slots is not None))
    assert len(cohort["survivors"]) == len(homes)
    return round


async def round_opens(server: ServerProcess, number: int) -> None:
    """Wait until the server has opened that round, the one before being over."""
    for _ in range(1200):
        if len(await asyncio.to_thread(server.rounds)) >= number:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"round {number} does not open")


def ends(said: list[Event]) -> list[RoundFinished]:
    return [event for event in said if isinstance(event, RoundFinished)]


def test_who_is_lost_before_its_upload_is_left_out_and_takes_part_again(serve: Serve, tmp_path: Path) -> None:
    async def go() -> None:
        server = serve(target=5, clock=True, contribute_window=WINDOW)
        homes = [tmp_path / str(number) for number in range(5)]
        links = server.invite("--count", 5)
        working = [asyncio.create_task(run_client(quick_client(links[i], homes[i]), 2)) for i in range(4)]
        lost = await until(quick_client(links[4], homes[4]), lambda event: isinstance(event, RosterAccepted))
        assert ends(lost) == []
        await server.window_over(dealt=4)
        await round_opens(server, 2)
        assert_exact(server, 1, homes[:4])
        back = await run_client(quick_client(links[4], homes[4]), 1)
        assert [(end.round, end.outcome, end.counted) for end in ends(back)] == [
            (1, "published", False),
            (2, "published", True),
        ]
        for said in await asyncio.gather(*working):
            assert [(end.outcome, end.counted, end.survivors) for end in ends(said)] == [
                ("published", True, 4),
                ("published", True, 5),
            ]
        assert_exact(server, 2, homes)

    asyncio.run(go())


def test_who_is_lost_after_its_upload_is_counted_and_learns_it_later(serve: Serve, tmp_path: Path) -> None:
    async def go() -> None:
        server = serve(target=5, rounds=1)
        homes = [tmp_path / str(number) for number in range(5)]
        links = server.invite("--count", 5)
        working = [asyncio.create_task(run_client(quick_client(links[i], homes[i]), 1)) for i in range(4)]
        await until(quick_client(links[4], homes[4]), lambda event: isinstance(event, Contributed))
        for said in await asyncio.gather(*working):
            assert ends(said)[0].survivors == 5
        assert_exact(server, 1, homes)
        later = await until(quick_client(links[4], homes[4]), lambda event: isinstance(event, RoundFinished))
        assert ends(later)[0].counted

    asyncio.run(go())


def test_an_abandoned_cohorts_updates_are_mustered_again_and_not_trained_again(serve: Serve, tmp_path: Path) -> None:
    async def go() -> None:
        server = serve(target=5, clock=True, contribute_window=WINDOW)
        homes = [tmp_path / str(number) for number in range(5)]
        links = server.invite("--count", 5)
        floors = [5, 3, 3, 3]  # one wants five survivors, so the loss of any device ends the cohort
        working = [
            asyncio.create_task(run_client(quick_client(links[i], homes[i], min_survivors=floor), 2))
            for i, floor in enumerate(floors)
        ]
        await until(quick_client(links[4], homes[4]), lambda event: isinstance(event, RosterAccepted))
        said = asyncio.gather(*working)
        await server.window_over(dealt=4)
        await round_opens(server, 2)
        back = await run_client(quick_client(links[4], homes[4]), 1)
        assert [end.outcome for end in ends(back)] == ["abandoned", "published"]
        for events in await said:
            assert [(end.round, end.outcome, end.counted) for end in ends(events)] == [
                (1, "abandoned", False),
                (2, "published", True),
            ]
            assert [event.round for event in events if isinstance(event, Trained)] == [1]
            assert [event.round for event in events if isinstance(event, Mustered)] == [1, 2]
        first, second = server.rounds()[:2]
        assert first["adapter_before"] == second["adapter_before"]
        assert_exact(server, 2, homes)

    asyncio.run(go())


class GatedClient(QuickClient):
    """Its second training waits until ``gate`` opens."""

    trainings = 0
    gate: asyncio.Event

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        self.trainings += 1
        if self.trainings == 2:
            await self.gate.wait()
        async for event in super().train(job):
            yield event


def gated(link: JoinLink, home: Path, gate: asyncio.Event) -> GatedClient:
    client = quick_client(link, home, kind=GatedClient)
    assert isinstance(client, GatedClient)
    client.gate = gate
    return client


def test_an_earlier_cohort_is_answered_while_the_next_round_trains(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SETTLING_SECONDS", 0.5)

    async def go() -> None:
        server = serve(target=3, clock=True, contribute_window=WINDOW)
        links, homes = server.invite("--count", 3), [tmp_path / str(number) for number in range(3)]
        gate = asyncio.Event()
        said: list[list[Event]] = [[], []]

        async def work(number: int) -> None:
            async with (client := gated(links[number], homes[number], gate)):
                async for event in client.run(2):
                    said[number].append(event)
                    if all(any(ends(heard)) for heard in said):
                        gate.set()  # training goes on only once round 1 is over for both

        working = asyncio.gather(work(0), work(1))
        await until(quick_client(links[2], homes[2]), lambda event: isinstance(event, RosterAccepted))
        await server.window_over(dealt=2)
        await round_opens(server, 2)
        await asyncio.gather(working, run_client(quick_client(links[2], homes[2]), 1))
        for heard in said:
            assert [(end.round, end.outcome, end.counted) for end in ends(heard)] == [
                (1, "abandoned", False),
                (2, "published", True),
            ]
        assert_exact(server, 2, homes)

    asyncio.run(go())


def test_contributing_anew_from_the_same_adapter_ends_the_earlier_cohort_for_this_device_with_another_delta(
    serve: Serve, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "SETTLING_SECONDS", 0.5)

    async def go() -> None:
        server = serve(target=3, clock=True, contribute_window=WINDOW)
        links, homes = server.invite("--count", 4), [tmp_path / str(number) for number in range(4)]
        working = [asyncio.create_task(run_client(quick_client(links[n], homes[n]), 2)) for n in range(2)]
        await until(quick_client(links[2], homes[2]), lambda event: isinstance(event, RosterAccepted))
        await server.window_over(dealt=2)
        await round_opens(server, 2)
        await run_client(quick_client(links[3], homes[3]), 1)  # in its place; the one that was lost stays away
        for number, said in enumerate(await asyncio.gather(*working)):
            assert [(end.round, end.outcome) for end in ends(said)] == [(1, "superseded"), (2, "published")]
            assert [event.round for event in said if isinstance(event, Trained)] == [1, 2]
            first, second = (round["cohorts"][0]["cohort"] for round in server.rounds()[:2])
            before, after = plain_of(homes[number], first), plain_of(homes[number], second)
            assert before is not None
            assert not np.array_equal(before, after)
            assert [path.name for path in (homes[number] / "state" / "rounds" / "000001-1").iterdir()] == ["ended"]
        assert_exact(server, 2, [homes[0], homes[1], homes[3]])

    asyncio.run(go())


class FullDisk(KillingDisk):
    """A disk that is full when it reaches ``point``."""

    def _reach(self, when: str, path: Path) -> None:
        if self.count(when, path) == self.point:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_a_client_with_one_clear_error_and_loses_nothing(serve: Serve, tmp_path: Path) -> None:
    async def go() -> None:
        server = serve(target=3)
        links, homes = server.invite("--count", 3), [tmp_path / str(number) for number in range(3)]
        others = [asyncio.create_task(run_client(quick_client(links[n], homes[n]))) for n in range(2)]
        written = [
            "updates/delta",
            *(f"rounds/{name}" for name in ("key", "roster", "vector", "deal", "vote", "ended")),
        ]
        for name in written:
            disk = FullDisk(homes[2] / "state", f"within {name}#1")
            with pytest.raises(DiskError, match="Free some space"):
                await run_client(quick_client(links[2], homes[2], disk))
            said = await run_client(quick_client(links[2], homes[2]), 1)
            assert ends(said)[0].counted
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for number in range(1, len(written) + 1):
            assert_exact(server, number, homes)

    asyncio.run(go())


def test_clients_wait_for_a_server_that_is_restarted_in_mid_round_and_say_so(serve: Serve, tmp_path: Path) -> None:
    async def go() -> None:
        server = serve(target=3)
        homes = [tmp_path / str(number) for number in range(3)]
        links = server.invite("--count", 3)
        working = [asyncio.create_task(run_client(quick_client(links[i], homes[i]), 2)) for i in range(2)]
        said: list[Event] = []
        async with (client := quick_client(links[2], homes[2])):
            async for event in client.run(2):
                said.append(event)
                if isinstance(event, Mustered | Contributed | Voted) and event.round == 1:
                    await server.restart()
        assert [end.counted for end in ends(said)] == [True, True]
        others = await asyncio.gather(*working)
        told = [event for events in (said, *others) for event in events]
        assert any(isinstance(event, Retrying) for event in told)
        assert any(isinstance(event, Reconnected) for event in told)
        for number in (1, 2):
            assert_exact(server, number, homes)

    asyncio.run(go())
