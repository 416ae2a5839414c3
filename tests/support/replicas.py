"""Several processes that serve one federation, and peers whose requests go to any of them, as behind a balancer."""

import asyncio
import os
import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path

from peers import DEADLINE, Peer, Seat
from postgres import Postgres
from server_process import ServerProcess

from benchmarks.ports import free_port
from fedit_shared.identity import JoinLink
from fedit_shared.messages import Result


class RovingPeer(Peer):
    """Each request of it goes to a replica drawn anew; those that are not there are passed over."""

    def __init__(self, link: JoinLink, seed: object, replicas: "Replicas") -> None:
        super().__init__(link, seed)
        self.replicas = replicas
        self.drawn = random.Random(repr(seed))

    def address(self) -> str:
        return f"https://127.0.0.1:{self.drawn.choice(self.replicas.serving).port}"


class Replicas:
    """``serving``: the processes that are up; ``first`` answers for their common folder."""

    def __init__(self, root: Path, postgres: Postgres, count: int, **options: object) -> None:
        self._postgres = postgres
        self.url = postgres.database()
        self._name = self.url.rsplit("/", 1)[1]
        self.first = ServerProcess(root, database=self.url, **options)
        self.serving = [self.first, *(self.first.replica() for _ in range(count - 1))]
        for process in self.serving:
            process.metrics = free_port()
            process.launch()
        for process in self.serving:
            process.wait_until_ready()

    def another_database(self) -> str:
        """The URL of a new, empty one in the same PostgreSQL."""
        return self._postgres.database()

    def leader(self) -> ServerProcess | None:
        """Who holds the leader's lock in the database."""
        with self._postgres.connect(self._name) as connection:
            held = connection.execute(
                "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid)"
                " WHERE locktype = 'advisory' AND objid = 1 AND classid = %s AND datname = current_database()",
                [0xFED17],
            ).fetchall()
        assert len(held) <= 1
        pids = {int(name.rsplit("/", 1)[1]) for (name,) in held}
        return next((process for process in self.serving if process.pid in pids), None)

    def wait_for_leader(self) -> ServerProcess:
        """Who leads, as soon as somebody does."""
        end = time.monotonic() + DEADLINE
        while (found := self.leader()) is None:
            assert time.monotonic() < end, "nobody leads"
            time.sleep(0.05)
        return found

    def kill_leader(self) -> ServerProcess:
        """SIGKILL the one that leads; it is not in ``serving`` any more."""
        leader = self.wait_for_leader()
        self.serving.remove(leader)
        leader.kill()
        return leader

    @contextmanager
    def without_database(self) -> Iterator[None]:
        """Their database takes nobody in, and lets nobody stay."""
        with self._postgres.connect() as connection:
            connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [self._name]
            )
            try:
                yield
            finally:
                connection.execute(f"ALTER DATABASE {self._name} ALLOW_CONNECTIONS true")


@contextmanager
def started(root: Path, postgres: Postgres, count: int, **options: object) -> Iterator[Replicas]:
    """So many replicas; those that are left are stopped afterwards."""
    replicas = Replicas(root, postgres, count, **options)
    try:
        yield replicas
    finally:
        with ThreadPoolExecutor(count) as pool:
            list(pool.map(ServerProcess.stop, replicas.serving))


Seats = list[tuple[RovingPeer, Seat]]


async def joined(stack: AsyncExitStack, replicas: Replicas, count: int) -> list[RovingPeer]:
    [link] = replicas.first.invite("--uses", count)
    peers = [await stack.enter_async_context(RovingPeer(link, os.urandom(8), replicas)) for _ in range(count)]
    await asyncio.gather(*(peer.enrol() for peer in peers))
    return peers


async def seated(stack: AsyncExitStack, replicas: Replicas, count: int) -> Seats:
    peers = await joined(stack, replicas, count)
    seats = await asyncio.gather(*(peer.muster() for peer in peers))
    await asyncio.gather(*(peer.take_seat(seat) for peer, seat in zip(peers, seats, strict=True)))
    return list(zip(peers, seats, strict=True))


async def finished(there: Seats) -> list[Result]:
    """Everybody does what is left to do, and the round is published."""
    results = await asyncio.gather(*(peer.finish(seat) for peer, seat in there))
    assert {result.outcome for result in results} == {"published"}
    return results


async def everybody(there: Seats, *steps: str) -> None:
    for step in steps:
        await asyncio.gather(*(getattr(peer, step)(seat) for peer, seat in there))
