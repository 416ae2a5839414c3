"""Three real processes over one PostgreSQL: requests go to any, and who leads is killed or frozen in mid-round."""

import asyncio
import os
import signal
import time
import urllib.request
from collections.abc import Iterator
from contextlib import AsyncExitStack

import pytest
from dashboard import live_page, logged_in, part
from peers import until
from postgres import Postgres
from replicas import Replicas, Seats, everybody, finished, joined, seated, started
from served import assert_exact
from server_process import ServerProcess

from agg_server.store import Claims, Database
from fedit_shared.errors import ProtocolError
from fedit_shared.identity import sign_request
from fedit_shared.messages import (
    MEDIA_TYPE,
    PROTOCOL_HEADER,
    ROUTES,
    CheckIn,
    Result,
    ServerMessage,
    Wait,
    decode,
    encode,
)


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory, postgres: Postgres) -> Iterator[Replicas]:
    """Three replicas, for as many rounds of three as there are tests."""
    with started(tmp_path_factory.mktemp("replicas"), postgres, 3, target=3, scale=300) as replicas:
        yield replicas


async def exact(replicas: Replicas, there: Seats) -> None:
    """Everybody does what is left to do, and the sum is exact."""
    await finished(there)
    assert_exact(replicas.first, there[0][1].offer.round, [seat for _, seat in there])


def test_a_request_that_one_replica_took_is_refused_by_every_other(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            [peer] = await joined(stack, three, 1)
            path, body = ROUTES[CheckIn].path, encode(CheckIn(client_version="test", accelerator="cpu", memory_gib=1))
            now, nonce = int(time.time()), os.urandom(16)
            token = sign_request(peer.key, peer.link.federation, "POST", path, body, time=now, nonce=nonce)
            headers = {"Authorization": token, PROTOCOL_HEADER: "1", "Content-Type": MEDIA_TYPE}
            told = []
            for process in three.serving:
                url = f"https://127.0.0.1:{process.port}{path}"
                async with peer.http.post(url, data=body, headers=headers) as answer:
                    told.append((answer.status, decode(await answer.read(), ServerMessage)))
            assert [status for status, _ in told] == [200, 401, 401]
            assert "sent before" in told[1][1].message

    asyncio.run(run())


def test_two_deals_of_one_device_are_not_checked_side_by_side_at_two_replicas(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await asyncio.gather(*(peer.contribute(seat) for peer, seat in there[1:]))
            peer, seat = there[0]
            for index in range(len(peer.chunks(seat))):
                await peer.put_chunk(seat, index)
            other = Claims(Database(three.url))  # as a replica that checks another deal of this device
            assert other.take(b"deal" + peer.identity)
            with pytest.raises(ProtocolError, match="under way"):
                await peer.send(seat.deal)
            other.close()
            await peer.send(seat.deal)
            await exact(three, there)

    asyncio.run(run())


def test_a_sum_whose_replica_dies_is_opened_by_another(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await everybody(there, "contribute", "report", "vote")
            roster = there[0][1].roster
            assert roster is not None
            summing = Claims(Database(three.url))
            assert summing.take(roster.cohort)
            await everybody(there, "answer")
            waiting = [await peer.poll(seat, "answered", wait=3) for peer, seat in there]
            assert {type(answer) for answer in waiting} == {Wait}, "it is that replica's to open"
            summing.close()
            for peer, seat in there:
                assert isinstance(await peer.wait_for(seat, "answered"), Result)
            assert_exact(three.first, there[0][1].offer.round, [seat for _, seat in there])

    asyncio.run(run())


def standing_told_by(process: ServerProcess) -> dict[str, float]:
    """How the federation stands, by this one's page of metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{process.metrics}/metrics", timeout=60) as page:
        lines = [line.split() for line in page.read().decode().splitlines()]
    told = {line[0]: float(line[1]) for line in lines if line[0] in STANDING}
    assert len(told) == len(STANDING)
    return told


STANDING = (
    "fedit_adapter_version",
    "fedit_last_version_timestamp_seconds",
    "fedit_finished",
    "fedit_clip_range_ratio",
    "fedit_mean_loss",
)


def test_every_replica_tells_how_the_federation_stands_whichever_ended_the_round(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await everybody(there, "contribute")
            await exact(three, there)
            [ended] = [told for told in three.first.rounds() if told["round"] == there[0][1].offer.round]
            ratios: set[float] = set()
            for process in three.serving:
                told = await until(
                    lambda process=process: asyncio.to_thread(standing_told_by, process),
                    lambda told: told["fedit_adapter_version"] == ended["version"],
                )
                assert told["fedit_last_version_timestamp_seconds"] == pytest.approx(ended["ended"])
                assert told["fedit_mean_loss"] == pytest.approx(ended["loss"])
                assert told["fedit_finished"] == 0
                ratios.add(told["fedit_clip_range_ratio"])
            assert len(ratios) == 1
            assert ratios != {1 / 16}, "they follow what was published"

    asyncio.run(run())


def test_a_frozen_leader_is_replaced_and_harmless_when_it_goes_on(three: Replicas):
    frozen: list[ServerProcess] = []

    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await everybody(there, "contribute")
            leader = await asyncio.to_thread(three.wait_for_leader)
            os.kill(leader.pid, signal.SIGSTOP)
            frozen.append(leader)
            three.serving.remove(leader)
            other = await until(lambda: asyncio.to_thread(three.leader), bool)
            assert other is not leader
            await everybody(there, "report", "vote")
            os.kill(leader.pid, signal.SIGCONT)
            three.serving.append(leader)
            await exact(three, there)

    try:
        asyncio.run(run())
    finally:
        for process in frozen:
            os.kill(process.pid, signal.SIGCONT)


def test_replicas_that_cannot_reach_their_database_say_so_and_go_on_when_they_can(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await everybody(there, "contribute", "report")
            operator = await asyncio.to_thread(logged_in, three.serving[0])
            line, stream = await asyncio.to_thread(live_page, operator)
            with three.without_database():
                for process in three.serving:
                    await until(lambda process=process: asyncio.to_thread(process.is_ready), lambda ready: not ready)
                    assert process.answers("/healthz")
                status, raw, headers = await there[0][0].request("POST", "/v1/checkin", b"")
                assert (status, "Retry-After" in headers) == (503, True), raw
                page = await asyncio.to_thread(operator.ask, "")
                assert (page.status, page.headers["Retry-After"]) == (503, "10")
                assert "reload the page" in page.text
            for process in three.serving:
                await until(lambda process=process: asyncio.to_thread(process.is_ready), bool)
            await exact(three, there)
            following = f"/rounds/{there[0][1].offer.round + 1}"
            while following not in (await asyncio.to_thread(part, stream))["html"]:
                pass  # the page that was open goes on
            line.close()

    asyncio.run(run())


def test_a_round_whose_leaders_are_killed_ends_with_the_exact_sum_at_the_last_replica(three: Replicas):
    async def run() -> None:
        async with AsyncExitStack() as stack:
            there = await seated(stack, three, 3)
            await everybody(there[:1], "contribute")
            first = await asyncio.to_thread(three.kill_leader)
            await everybody(there[1:], "contribute")
            await everybody(there, "report")
            second = await asyncio.to_thread(three.kill_leader)
            assert second is not first
            await exact(three, there)
            number = there[0][1].offer.round
            assert (await there[0][0].offer(after=number)).round == number + 1
            assert await asyncio.to_thread(three.wait_for_leader) is three.serving[0]

    asyncio.run(run())
    logs = three.first.log.parent.parent.rglob("*.log")
    assert not [line for log in logs for line in log.read_text().splitlines() if "traceback=" in line]
