"""Real clients with a trainer that costs nothing; and one that can be told at which write to its disk it is killed."""

import asyncio
import json
import multiprocessing
import os
import signal
import sys
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.demo.plain import plain_slots
from edge_client.client import Client, Event
from edge_client.data import DataSource
from edge_client.state import Disk, FederationState
from edge_client.training import Finished, TrainEvent, TrainJob
from fedit_shared.identity import JoinLink
from fedit_shared.secagg import Contribution, Session, Update
from fedit_shared.strategies import Role

RECORD = {"instruction": "Say yes.", "context": "", "response": "Yes."}


class KillingDisk(Disk):
    """Notes every write and removal as a point, in ``seen``, and kills this very process at ``point``.

    ``within NAME``: the new content is in the temporary file, which has not yet become NAME. ``after NAME``: it has.
    ``without NAME``: it was removed. ``#2``: the second time that this happens.
    """

    def __init__(self, root: Path, point: str | None) -> None:
        self.root = root
        self.point = point
        self.seen: list[str] = []
        self._times: Counter[str] = Counter()

    def count(self, when: str, path: Path) -> str:
        """The name of this point."""
        parts = path.relative_to(self.root).parts
        name = f"{when} {parts[0]}" + (f"/{parts[-1]}" if len(parts) > 2 else "")
        self._times[name] += 1
        return f"{name}#{self._times[name]}"

    def _reach(self, when: str, path: Path) -> None:
        point = self.count(when, path)
        self.seen.append(point)
        if point == self.point:
            os.kill(os.getpid(), signal.SIGKILL)

    @contextmanager
    def stream(self, path: Path) -> Iterator[BinaryIO]:
        with super().stream(path) as file:
            yield file
            file.flush()
            self._reach("within", path)
        self._reach("after", path)

    def remove(self, path: Path) -> None:
        there = path.exists()
        super().remove(path)
        if there:
            self._reach("without", path)


class QuickClient(Client):
    """Trains in no time: its delta follows from the job's seed, and private values from that and from where they began.
    Its plain slots are kept in ``plain``."""

    pause_scale = 0.1
    plain: Path

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        turn, drawn = job.task.turn(job.round), np.random.default_rng(job.seed)
        path, own = Path(job.work) / "delta", None
        drawn.normal(0, 3e-4, turn.dimension).astype("<f4").tofile(path)
        if private := sum(turn.pick(turn.sizes, Role.KEEP)):
            before = np.zeros(private, "<f4") if job.private is None else np.fromfile(job.private, "<f4")
            own = path.with_name("own")
            (before + drawn.normal(0, 1, private)).astype("<f4").tofile(own)
        yield Finished(
            private_path=None if own is None else str(own),
            delta_path=str(path),
            examples=40 + job.seed % 200,
            tokens=1,
            loss=1.5,
            steps=3,
            seconds=0.0,
            peak_bytes=0,
        )

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        np.save(self.plain / f"{session.roster.cohort.hex()}.npy", plain_slots(session, update, randomness))
        return super().contribute(session, update, randomness, sink)


def quick_client(
    link: JoinLink, home: Path, disk: Disk | None = None, *, kind: type[QuickClient] = QuickClient, **wishes: Any
) -> QuickClient:
    """A client that keeps everything under ``home``."""
    (home / "plain").mkdir(parents=True, exist_ok=True)
    data = home / "data.jsonl"
    data.write_text(json.dumps(RECORD) + "\n")
    wishes = {"data": DataSource(path=str(data))} | wishes
    client = kind(FederationState(home / "state", disk), link, wishes=wishes)
    client.plain = home / "plain"
    return client


def plain_of(home: Path, cohort: str) -> NDArray[np.int64] | None:
    """What a client masked for this cohort, the last time it did."""
    path = home / "plain" / f"{cohort}.npy"
    return np.load(path) if path.exists() else None


async def run_client(client: Client, rounds: int | None = None) -> list[Event]:
    """Everything that the client says until it is done."""
    async with client:
        return [event async for event in client.run(rounds)]


class Victim:
    """A client in a process of its own, for one round at a time."""

    def __init__(self, link: JoinLink, home: Path) -> None:
        self.link = link
        self.home = home
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(["participants"])
        with pytest.MonkeyPatch.context() as environment:  # forked from a process that has imported everything
            environment.setenv("PYTHONPATH", os.pathsep.join(sys.path))
            forkserver.ensure_running()

    async def run(self, kill_at: str | None = None) -> int:
        """Take part until one update is in and its round over, or until killed. The exit status, -9 if killed."""
        process = self._context.Process(target=_be_victim, args=(str(self.link), str(self.home), kill_at), daemon=True)
        process.start()
        gone = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(process.sentinel, gone.set)  # not join in a thread: two threads would race for the status
        try:
            async with asyncio.timeout(300):
                await gone.wait()
        except TimeoutError:
            process.kill()
            raise AssertionError(f"the client hung after {kill_at}") from None
        finally:
            loop.remove_reader(process.sentinel)
        process.join()
        assert process.exitcode is not None
        return process.exitcode

    def points(self) -> list[str]:
        """All points that its last run that was not killed went through, in order."""
        points: list[str] = json.loads((self.home / "points.json").read_text())
        return points


def _be_victim(link: str, home: str, kill_at: str | None) -> None:
    folder = Path(home)
    disk = KillingDisk(folder / "state", kill_at)
    asyncio.run(run_client(quick_client(JoinLink.parse(link), folder, disk), rounds=1))
    (folder / "points.json").write_text(json.dumps(disk.seen))
