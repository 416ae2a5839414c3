"""A server is put back to a backup of the middle of a round, while clients go on that have seen what came after."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from participants import QuickClient, plain_of, quick_client
from safetensors.numpy import load_file
from server_process import ServerProcess, command

from edge_client.client import Event, RoundFinished
from edge_client.client.events import Mustered, Sealed
from fedit_shared.secagg import Contribution, Session, Update

CLIENTS = 3


class HeldClient(QuickClient):
    """Masks its update only once it is let."""

    let = threading.Event()

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        self.let.wait(120)
        return super().contribute(session, update, randomness, sink)


class Watched:
    """A client at work, and all that it says."""

    def __init__(self, client: QuickClient) -> None:
        self.said: list[Event] = []
        self._told = asyncio.Condition()
        self._work = asyncio.create_task(self._run(client))

    async def _run(self, client: QuickClient) -> None:
        async with client:
            async for event in client.run():
                async with self._told:
                    self.said.append(event)
                    self._told.notify_all()

    async def until(self, done: Callable[[list[Event]], Any]) -> None:
        async with asyncio.timeout(300), self._told:
            await self._told.wait_for(lambda: self._work.done() or done(self.said))
        assert not self._work.done(), self._work.exception()

    async def stop(self) -> None:
        self._work.cancel()
        await asyncio.wait([self._work])


def finished(said: list[Event]) -> list[tuple[int, str]]:
    return [(event.round, event.outcome) for event in said if isinstance(event, RoundFinished)]


def has(kind: type[Event], round: int) -> Callable[[list[Event]], bool]:
    return lambda said: any(isinstance(event, kind) and getattr(event, "round", None) == round for event in said)


@contextmanager
def serving(server: ServerProcess) -> Iterator[ServerProcess]:
    server.start()
    try:
        yield server
    finally:
        server.kill()


def test_clients_that_saw_a_later_version_go_on_with_a_server_that_was_put_back(tmp_path: Path) -> None:
    server = ServerProcess(tmp_path / "server", target=CLIENTS)
    homes = [tmp_path / str(number) for number in range(CLIENTS)]
    back = ServerProcess.adopt(tmp_path / "back", server.port)

    async def run() -> list[Watched]:
        with serving(server):
            links = server.invite("--count", CLIENTS)
            kinds = [QuickClient, QuickClient, HeldClient]
            clients = [
                Watched(quick_client(link, home, kind=kind))
                for link, home, kind in zip(links, homes, kinds, strict=True)
            ]
            for client in clients[:2]:
                await client.until(has(Sealed, 1))
            made = await asyncio.to_thread(command, "backup", server.folder, tmp_path / "backup")
            assert made.returncode == 0, made.stderr
            HeldClient.let.set()
            for client in clients:
                await client.until(lambda said: (1, "published") in finished(said))
            await clients[2].stop()  # so that the second round stays open
            for client in clients[:2]:
                await client.until(has(Mustered, 2))
        restored = await asyncio.to_thread(command, "restore", tmp_path / "backup", back.folder)
        assert restored.returncode == 0, restored.stderr
        with serving(back):
            clients[2] = Watched(quick_client(links[2], homes[2]))
            for client in clients:
                await client.until(lambda said: any(round > 1000 for round, _ in finished(said)))
            for client in clients:
                await client.stop()
        return clients

    for client in asyncio.run(run())[:2]:
        assert finished(client.said)[:3] == [(1, "published"), (2, "closed"), (1002, "published")]
    [published] = [told for told in back.rounds() if told["outcome"] == "published"]
    [cohort] = published["cohorts"]
    plain = [plain_of(home, cohort["cohort"]) for home in homes]
    assert np.array_equal(load_file(cohort["sum"])["slots"], np.sum(plain, axis=0, dtype=np.int64))
    assert published["adapter_before"] == back.rounds()[0]["adapter_before"], "it begins where the backup was"
