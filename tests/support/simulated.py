"""A federation without sockets, threads or a clock: the server's ledger and work, and devices beside it in memory."""

from copy import copy
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from cohorts import SERVER, seeded

from agg_server.adapters.publishing import adapter_key
from agg_server.config import Config, parse_config
from agg_server.driver.opening import Plans, next_proposal
from agg_server.driver.work import Tools, job
from agg_server.ledger import Due, Ledger, Proposal
from agg_server.rounds.events import Answered, AnyEvent, Dealt, Mustered, Offered, Reported, Voted
from agg_server.rounds.report import RoundReport
from agg_server.rounds.state import Cohort, Round
from agg_server.storage.blobs import Blobs
from agg_server.storage.rooms import Rooms
from agg_server.store import AdapterVersion, Database, Journal, Versions
from agg_server.summing.clipping import first_ranges
from fedit_shared import adapter
from fedit_shared.identity import SigningKey, federation_id
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, ModelRef, Prepare, TaskSpec, TensorSpec, decode_task
from fedit_shared.secagg import Contributor, Member, RoundKey, Session, Update, split_packets
from fedit_shared.secagg.bodies import MusterBody

START = 1_900_000_000.0
TENSORS = (TensorSpec(name="a", shape=(30,)), TensorSpec(name="b", shape=(70, 1)))
FACTORS = (TensorSpec(name="q.lora_A.weight", shape=(2, 15)), TensorSpec(name="q.lora_B.weight", shape=(35, 2)))
"""The same sizes, for strategies that tell A from B."""


@dataclass
class Sim:
    """A device, and what it did in its current round."""

    name: int
    key: SigningKey
    round_key: RoundKey | None = None
    update: Update | None = None
    randomness: bytes = b""
    cohort: bytes = b""
    sent: list[AnyEvent] = field(default_factory=list)

    @property
    def identity(self) -> bytes:
        return bytes(self.key.public)


class Simulated:
    """One server with ``count`` devices; ``step``: keys of [server_step], ``rules`` of [round]. Time is :attr:`now` and
    moves when told to."""

    def __init__(
        self,
        folder: Path,
        count: int = 5,
        rounds: int = 0,
        strategy: str = "fedavg",
        step: dict[str, object] | None = None,
        **rules: object,
    ) -> None:
        self.now = START
        self.database = self.make_database(folder)
        self.database.migrate()
        self.config = make_config(rounds, rules, strategy, step or {})
        task = TaskSpec(
            name="test",
            model=ModelRef(id="tiny"),
            adapter_config="{}",
            tensors=TENSORS if strategy == "fedavg" else FACTORS,
            training=self.config.training,
            strategy=self.config.federation.strategy,
            max_weight=self.config.round.max_weight,
        )
        blobs = Blobs(folder / "blobs")
        self._drawn = 0
        self.tools = Tools(self.config, SERVER, blobs, Rooms(blobs), self._random)
        self.plans = Plans.of(task)
        self._start_from(task)
        self.ledger = Ledger(self.database, SERVER)
        self.devices = sorted(
            (Sim(i, SigningKey(seeded("sim", i))) for i in range(count)), key=lambda device: device.identity
        )
        self.restart()

    def make_database(self, folder: Path) -> Database:
        """Where it keeps its journal."""
        return Database(f"sqlite:///{folder / 'test.sqlite3'}")

    def reopened(self, **rules: object) -> "Simulated":
        """This federation after a new start with other rules."""
        later = copy(self)
        later.config = make_config(0, rules)
        later.tools = later.tools._replace(config=later.config)
        later.plans = Plans.of(later.plans.task)
        later.restart()
        return later

    def restart(self) -> None:
        """What a kill and a new start do to the ledger."""
        self.restart_without_settling()
        self.settle()

    def restart_without_settling(self) -> None:
        """As :meth:`restart`, with nothing done yet of what is due."""
        self.ledger = Ledger(self.database, SERVER)
        self.ledger.load()

    @property
    def round(self) -> Round:
        assert self.ledger.current is not None
        return self.ledger.current

    @property
    def cohort(self) -> Cohort:
        [cohort] = self.round.cohorts.values()
        return cohort

    def finished(self, number: int) -> RoundReport:
        """What is kept of a round."""
        with self.database.begin() as connection:
            [told] = [told for told in Journal().reports(connection) if told.round == number]
        return told

    def record(self, event: AnyEvent, number: int | None = None) -> None:
        """Propose one event; raises why it was refused."""
        [refused] = self.ledger.record([Proposal(number or self.round.number, event)], self.now).outcomes
        if refused is not None:
            raise refused

    def settle(self) -> None:
        """Do everything that is due, and open the next round when one is over."""
        done: set[Due] = set()
        while True:
            current = self.ledger.current
            with self.database.begin() as connection:
                opening = next_proposal(connection, self.tools, self.plans, current, self._random(32))
            if opening is not None:
                assert self.ledger.record([opening], self.now).outcomes == [None]
            fresh = [due for due in self.ledger.due(self.now) if due not in done]
            if not fresh and opening is None:
                return
            for due in fresh:
                done.add(due)
                round = self.ledger.live(due.round)
                event = job(self.tools, round, due.effect, self.now)() if round else None
                if event is not None:
                    self.ledger.record([Proposal(due.round, event)], self.now)
                    self._seat()

    def wait(self, seconds: float) -> None:
        """Let time pass, stopping whenever something is due."""
        end = self.now + seconds
        while (due := self.ledger.next_time(self.now)) is not None and due <= end:
            self.now = due
            self.settle()
        self.now = end
        self.settle()

    def muster(self, *devices: Sim, floor: int = 3, settle: bool = True, **changes: Any) -> None:
        for device in devices:
            self.record(Offered(identity=device.identity))
            self.record(self.make_muster(device, floor, **changes))
        if settle:
            self.settle()

    def make_muster(self, device: Sim, floor: int = 3, **changes: Any) -> Mustered:
        opened, rules = self.round.opened, self.round.opened.rules
        rng = np.random.default_rng([device.name, self.round.number])
        size = decode_task(opened.task).turn(opened.round).dimension
        device.update = Update(
            rng.normal(0, 6e-4, size).astype(np.float32), int(rng.integers(1, 300)), float(rng.uniform(1, 3))
        )
        device.round_key = RoundKey(seeded("key", device.name, self.round.number, size=96))
        windows = rules.train_window + rules.muster_window + rules.contribute_window + rules.answer_window
        fields = {
            "federation": opened.federation,
            "task_hash": sha256(opened.task).digest(),
            "round": opened.round,
            "adapter": opened.adapter,
            "round_key_hash": sha256(device.round_key.public).digest(),
            "floor": floor,
            "not_after": int(self.now + windows) + 1,
        } | changes
        body = MusterBody(**fields).encode()
        signature = device.key.sign("muster", body)
        return Mustered(identity=device.identity, body=body, round_key=device.round_key.public, signature=signature)

    def contribute(self, *devices: Sim, settle: bool = True) -> None:
        for device in devices:
            self.record(self.make_deal(device))
        if settle:
            self.settle()

    def make_deal(self, device: Sim) -> Dealt:
        session = self.session_of(device)
        device.randomness, parts = seeded("mask", device.name, session.sid), []
        assert device.update is not None
        made = Contributor(session, device.key).contribute(
            device.update, device.randomness, lambda view: parts.append(bytes(view))
        )
        vector, upload = b"".join(parts), self.tools.rooms.upload(session, device.identity)
        for start in range(0, len(vector), CHUNK_SIZE):
            upload.put(start // PIECE_SIZE, vector[start : start + CHUNK_SIZE])
        packets = split_packets(session, device.identity, made.deal, made.signature, made.packets)
        self.tools.rooms.store_packets(device.cohort, device.identity, made.deal, packets)
        return Dealt(cohort=device.cohort, identity=device.identity, body=made.deal, signature=made.signature)

    def report(self, *devices: Sim, settle: bool = True) -> None:
        for device in devices:
            report, signature = self.member(device).report(self.prepare_for(device))
            self.record(Reported(cohort=device.cohort, identity=device.identity, report=report, signature=signature))
        if settle:
            self.settle()

    def vote(self, *devices: Sim, settle: bool = True) -> None:
        for device in devices:
            survivors = self.cohort_of(device).aggregator.survivors
            assert survivors is not None
            signature = self.member(device).vote(self.prepare_for(device), survivors)
            digest = sha256(survivors).digest()
            self.record(
                Voted(cohort=device.cohort, identity=device.identity, survivors_hash=digest, signature=signature)
            )
        if settle:
            self.settle()

    def answer(self, *devices: Sim, settle: bool = True) -> None:
        for device in devices:
            self.record(self.make_answer(device))
        if settle:
            self.settle()

    def make_answer(self, device: Sim) -> Answered:
        aggregator = self.cohort_of(device).aggregator
        survivors, certificate = aggregator.survivors, aggregator.certificate()
        assert survivors is not None
        assert certificate is not None
        answered = self.member(device).answer(self.prepare_for(device), survivors, certificate)
        assert answered is not None
        return Answered(
            cohort=device.cohort,
            identity=device.identity,
            survivors_hash=sha256(survivors).digest(),
            words=answered[0],
            signature=answered[1],
        )

    def whole_round(self) -> int:
        """A round in which everybody does everything; its number."""
        number = self.round.number
        self.muster(*self.devices)
        if self.round.number == number and not self.round.cohorts:
            self.wait(self.round.opened.rules.muster_window)
        for step in (self.contribute, self.report, self.vote):
            step(*self.devices)
        self.answer(*self.devices, settle=False)
        self.settle()
        return number

    def cohort_of(self, device: Sim) -> Cohort:
        return self.ledger.cohort(device.cohort)[1]

    def session_of(self, device: Sim) -> Session:
        return self.cohort_of(device).session

    def _seat(self) -> None:
        for device in self.devices:
            if device.identity in self.round.members:
                device.cohort = self.round.members[device.identity].id

    def member(self, device: Sim) -> Member:
        assert device.round_key is not None
        return Member(self.session_of(device), device.key, device.round_key)

    def prepare_for(self, device: Sim) -> Prepare:
        cohort = self.cohort_of(device)
        receipts = [cohort.aggregator.receipts[d] for d in sorted(cohort.aggregator.receipts)]
        place = cohort.session.index(device.identity) - 1
        packets = [self.tools.rooms.packet(cohort.session, receipt, place) for receipt in receipts]
        return Prepare(receipts=receipts, packets=packets)

    def _start_from(self, task: TaskSpec) -> None:
        vector = np.random.default_rng(0).normal(0, 0.1, adapter.size(task.tensors)).astype(np.float32)
        data = adapter.write_adapter(task.tensors, vector)
        version = adapter.version(data)
        self.tools.blobs.write(adapter_key(version), data)
        first = AdapterVersion(
            version=0, adapter=version, parent=None, round=None, created=START, size=len(data), clip=first_ranges(task)
        )
        with self.database.begin() as connection:
            Versions().add(connection, first)

    def _random(self, size: int) -> bytes:
        self._drawn += 1
        return seeded("server", self._drawn, size=size)


def make_config(
    rounds: int, rules: dict[str, object], strategy: str = "fedavg", step: dict[str, object] | None = None
) -> Config:
    """Settings with these rules of [round], and of [server_step]."""
    sections: dict[str, dict[str, object]] = {
        "federation": {"name": "test", "rounds": rounds, "strategy": strategy},
        "server": {"address": "https://localhost:1"},
        "model": {"id": "tiny"},
        "training": {"steps": 10},
        "round": rules,
        "server_step": step or {},
    }
    lines = []
    for section, values in sections.items():
        lines += [f"[{section}]", *(f"{key} = {value!r}".replace("'", '"') for key, value in values.items())]
    return parse_config("\n".join(lines) + "\n")


def federation() -> bytes:
    """The simulated federation's id."""
    return federation_id(SERVER.public)
