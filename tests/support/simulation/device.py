"""A participant's machine: the real client, with drawn updates for training, and an owner who starts it again."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Self

import numpy as np

from edge_client.client import Client
from edge_client.state import CorruptStateError
from edge_client.training import Failed, Finished, TrainEvent, TrainJob
from edge_client.transport import News, Transport
from fedit_shared.errors import FeditError, UserError
from fedit_shared.identity import JoinLink
from fedit_shared.secagg import Contribution, Session, Update
from fedit_shared.strategies import Role

from .network import Network, SimSession
from .process import Machine, current

Contributed = Callable[[Session, Update, bytes, Contribution], None]
_RECORD = '{"instruction": "Say yes.", "context": "", "response": "yes"}\n'


class SimTransport(Transport):
    """The real transport; its session is the simulated network's."""

    async def __aenter__(self) -> Self:
        self._session, self._proxy, self._proxy_auth = self.simulated, None, None  # type: ignore[assignment]
        return self

    simulated: SimSession


class SimClient(Client):
    """The real client. ``device``: what it runs on."""

    device: "SimDevice"

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        await asyncio.sleep(self.device.random.uniform(2.0, 20.0))
        try:
            yield self.device.trained(job)
        except OSError as error:
            yield Failed(code="disk", message=f"The result cannot be written: {error.strerror}.")

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        made = super().contribute(session, update, randomness, sink)
        self.device.contributed(session, update, randomness, made)
        return made

    def _transport(self, told: News | None = None) -> Transport:
        server, key = self._enrolment.server, self.state.identity
        transport = SimTransport(server, key, told or self._told, clock=lambda: time.time())
        transport.simulated = SimSession(self.device.network, self.device.name)
        return transport


class SimDevice:
    """What a participant's machine runs, and how its owner sees to it.

    ``contributed`` hears of every masking. ``seed``: makes identities and updates.
    """

    def __init__(
        self,
        name: str,
        *,
        link: JoinLink,
        floor: int,
        seed: str,
        network: Network,
        contributed: Contributed,
    ) -> None:
        self.name = name
        self.random = Random(f"{seed} trains {name}")
        self.network = network
        self.contributed = contributed
        self.damaged = False
        """Whether a byte of its disk was changed."""
        self.errors: list[FeditError] = []
        self.began: tuple[int, str, bytes] = (0, "", b"")
        """Its life, adapter version and private values when it last began to train."""
        self.broken = ""
        """What of its private values is not as it should be."""
        self.leaving = False
        self.comes_back = False
        """Whether its owner uses the link once more, after having left."""
        self._link = link
        self._floor = floor
        self._seed = seed
        self._lives = 0
        self._failures = 0

    def settle(self, root: Path) -> None:
        """An empty state folder but for an identity, and the data, at ``root``."""
        self._lives += 1
        state = root / "state"
        state.mkdir(parents=True)
        (state / "identity").write_bytes(sha256(f"{self._seed} {self.name} {self._lives}".encode()).digest())
        (root / "data.jsonl").write_text(_RECORD)

    async def program(self, machine: Machine) -> float | None:
        """Run the client until it ends; the owner starts it again half a minute later."""
        try:
            await self._run(machine)
        except FeditError as error:
            told = str(error).replace(str(machine.root.parent), "")  # the trace is the same wherever the run lies
            machine.note(f"ends with {type(error).__name__}: {told}")
            self.errors.append(error)
            self._failures += 1
            self.comes_back |= isinstance(error, UserError)
            if self.damaged and (isinstance(error, CorruptStateError) or self._failures > 2):
                self._reset(machine)
            return 30.0
        self._failures = 0
        return None if self.leaving else 5.0

    def trained(self, job: TrainJob) -> Finished:
        """An update that follows from the job's seed, written where the training child would write it."""
        drawn = np.random.default_rng([job.seed, len(self._seed)])
        delta = drawn.normal(0, job.task.training.learning_rate * 20, job.task.turn(job.round).dimension).astype("<f4")
        path = Path(job.work) / "delta"
        path.write_bytes(delta.tobytes())
        return Finished(
            delta_path=str(path),
            private_path=self._own(job),
            examples=int(drawn.integers(1, 600)),
            tokens=100,
            loss=float(drawn.uniform(0, 4)),
            steps=1,
            seconds=1.0,
            peak_bytes=1,
        )

    def _own(self, job: TrainJob) -> str | None:
        """What the private tensors become. Trained again from the same version, they begin with the same values."""
        turn = job.task.turn(job.round)
        size = sum(turn.pick(turn.sizes, Role.KEEP))
        if not size:
            return None
        before = Path(job.private).read_bytes() if job.private else b""
        began, self.began = self.began, (self._lives, job.adapter, before)
        if began[:2] == self.began[:2] and began != self.began and not self.damaged:
            self.broken = f"{Path(job.adapter).stem[:12]} was begun with other private values than before"
        path = Path(job.work) / "own"
        path.write_bytes(np.random.default_rng([job.seed, len(before)]).normal(0, 1, size).astype("<f4").tobytes())
        return str(path)

    async def _run(self, machine: Machine) -> None:
        state, process = machine.root / "state", current()
        assert process is not None, "a machine's program"
        if (state / "membership").exists() and not self.comes_back:
            client = SimClient.open(state)
        else:
            self.comes_back = False
            client = SimClient.join(
                self._link, data=machine.root / "data.jsonl", state=state, min_survivors=self._floor
            )
        client.device = self
        process.locks.append(client.state._lock)
        async with client:
            async for event in client.run(0 if self.leaving else None):
                machine.note(type(event).__name__)
            if self.leaving:
                await client.leave()

    def _reset(self, machine: Machine) -> None:
        """Move the folder away and join with a new invitation."""
        machine.context.run(shutil.rmtree, machine.root, ignore_errors=True)
        machine.context.run(self.settle, machine.root)
        machine.disk.forget()
        self.damaged = False
        self._failures = 0
