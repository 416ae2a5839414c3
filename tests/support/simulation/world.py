"""One schedule, carried out: the machines, what happens to them, and whether everything ends well."""

import asyncio
import logging
from collections import deque
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import NamedTuple
from zlib import crc32

from agg_server.store import Journal, People, Versions
from fedit_shared.errors import FeditError
from fedit_shared.messages import encode
from fedit_shared.secagg import Contribution, Session, Update

from .device import SimDevice
from .evil import Evil
from .loop import Crashed, StuckError, VirtualLoop
from .network import Fault, Network
from .oracle import Oracle
from .process import Machine, Plan, Program
from .schedule import HEAL_SECONDS, SERVER, Op, Schedule
from .server import SimServer, Template, configured
from .watch_device import DeviceWatch, Fail
from .watch_server import ServerWatch

WINDOWS = {
    "train_window": 120.0,
    "muster_window": 30.0,
    "contribute_window": 60.0,
    "answer_window": 150.0,
    "answer_grace": 5.0,
}
PATIENCE = 8 * sum(WINDOWS.values())
"""So long after all faults have ended, every round has ended and all versions are published, or something hangs."""
LOOK_SECONDS = 10.0


class Failure(NamedTuple):
    """A rule that broke: its name, and how."""

    rule: str
    how: str
    trace: list[str]


class Outcome(NamedTuple):
    """What a schedule came to. ``published``: versions; ``seconds``: virtual; ``effects``: points where a crash could
    have struck; ``digest``: of all that could be noticed, the same in every run."""

    failure: Failure | None
    published: int
    seconds: float
    effects: int
    digest: int
    trace: list[str]


class World:
    """Made for one schedule. ``folder``: empty, on a fast disk."""

    def __init__(self, schedule: Schedule, template: Template, folder: Path, *, keep: int = 200) -> None:
        self._schedule = schedule
        self._random = Random(f"world {schedule.seed}")
        self._loop = VirtualLoop(Random(f"threads {schedule.seed}"))
        self._trace: deque[str] = deque(maxlen=keep)
        self._effects = 0
        self._digest = 0
        self._failed: Failure | None = None
        self._oracle = Oracle()
        self._device_watch = DeviceWatch(self._oracle, self._fail)
        config = configured(
            template,
            rounds=schedule.rounds,
            cohort_target=schedule.target,
            cohort_max=schedule.largest,
            slot_bits=schedule.slot_bits,
            max_weight=16 if schedule.slot_bits > 12 else 8,
            **WINDOWS,
        )
        self._program = SimServer(template, config)
        self._server = self._machine("server", folder, self._program.program)
        self._program.settle(self._server.root)
        self._server_watch = ServerWatch(
            self._server.root / config.server.blobs,
            encode(self._program.task),
            self._oracle,
            self._device_watch,
            self._fail,
            honest=schedule.honest,
        )
        self._evil = Evil(template.key)
        network = Random(f"network {schedule.seed}")
        self._network = Network(self._server, network, self._device_watch, self._server_watch)
        if not schedule.honest:
            self._network.twist = self._evil.twist
        self._program.network = self._network
        self._devices: list[SimDevice] = []
        self._machines: list[Machine] = []
        for number, floor in enumerate(schedule.floors):
            device = SimDevice(
                f"device{number}",
                link=template.link,
                floor=floor,
                seed=f"schedule {schedule.seed}",
                network=self._network,
                contributed=self._contributed,
            )
            machine = self._machine(device.name, folder, device.program)
            device.settle(machine.root)
            self._devices.append(device)
            self._machines.append(machine)

    def run(self) -> Outcome:
        """Carry the schedule out."""
        watcher = _LogWatch(self._fail)
        logging.getLogger("agg_server").addHandler(watcher)
        try:
            self._loop.run_until_complete(self._live())
        except StuckError as error:
            self._fail("stuck", str(error))
        finally:
            logging.getLogger("agg_server").removeHandler(watcher)
            self._dispose()
        versions = self._published
        return Outcome(self._failed, versions, self._loop.time(), self._effects, self._digest, list(self._trace))

    _published = 0

    async def _live(self) -> None:
        self._program.started = self._audit
        self._loop.call_soon(self._server.boot)
        late = {op.who for op in self._schedule.ops if op.kind == "join"}
        for number, machine in enumerate(self._machines):
            if number not in late:
                self._loop.call_later(self._random.uniform(0.5, 5.0), machine.boot)
        for op in self._schedule.ops:
            self._loop.call_at(op.at, self._happen, op)
        self._loop.call_at(self._schedule.heal_at, self._heal)
        while not self._failed and not self._over():
            await asyncio.sleep(LOOK_SECONDS)
            self._look()
        if not self._failed and self._schedule.honest:
            self._check_end()

    def _over(self) -> bool:
        now = self._loop.time()
        if now <= max((op.at for op in self._schedule.ops), default=0.0):
            return False
        if not self._schedule.honest:
            return now > self._schedule.heal_at + HEAL_SECONDS
        ledger = self._program.driver.ledger if self._server.running and self._program.driver else None
        done = ledger is not None and ledger.newest_version == self._schedule.rounds and not ledger.busy_cohorts()
        if not done and now > self._schedule.heal_at + PATIENCE:
            rounds = "" if ledger is None or ledger.current is None else f", round {ledger.current.number} goes on"
            self._fail("liveness", f"{PATIENCE:.0f} s after all faults not everything is published{rounds}")
        return done

    def _look(self) -> None:
        for machine in (self._server, *self._machines):
            if machine.failure is not None:
                self._fail("exception", f"{machine.name}: {machine.failure!r}")
        if self._loop.problems:
            self._fail("exception", repr(self._loop.problems[0]))

    def _happen(self, op: Op) -> None:
        self._note("--", str(op).strip())
        machine = self._server if op.who == SERVER else self._machines[op.who]
        name = machine.name
        match op.kind:
            case "crash":
                machine.plan = Plan(op.count, op.flag, op.seconds, op.seed, op.near)
            case "outage":
                self._outage(op)
            case "stop":
                machine.halt(op.seconds)
            case "join":
                machine.boot()
            case "leave":
                self._devices[op.who].leaving = True
                machine.halt(1.0)
            case "cut":
                self._network.cut_until[name] = self._loop.time() + op.seconds
            case "delay" | "lose" | "corrupt":
                fault = Fault(op.kind, op.flag, op.seconds, op.seed)
                self._network.faults.setdefault(name, []).append(fault)
            case "replay":
                random = Random(op.seed)
                for _ in range(min(op.count, len(self._network.history))):
                    self._network.deliver(random.choice(self._network.history))
            case "flip":
                self._flip(op, machine)
            case "full":
                machine.disk.writes_left = op.count
                self._loop.call_later(op.seconds, self._make_room, machine)
            case "sleep":
                machine.sleep(op.seconds)
            case "jump":
                machine.skew += op.seconds
            case "twist":
                self._evil.cheat(name, op.seed)

    def _outage(self, op: Op) -> None:
        for number in range(op.who, op.who + op.count):
            machine = self._machines[number % len(self._machines)]
            if op.flag and machine.running:
                machine.crash(Plan(0, True, op.seconds, op.seed + number))
            else:
                self._network.cut_until[machine.name] = self._loop.time() + op.seconds

    def _flip(self, op: Op, machine: Machine) -> None:
        if op.who == SERVER:
            changed = machine.disk.flip(Random(op.seed), lambda path: "/cohorts/" in path)
            self._server_watch.damaged |= changed is not None
        else:
            changed = machine.disk.flip(Random(op.seed), lambda path: not path.endswith("lock"))
            self._devices[op.who].damaged = True
            self._device_watch.damaged.add(machine.name)
        self._note(machine.name, f"changed: {machine.disk.short(changed)}")

    def _make_room(self, machine: Machine) -> None:
        machine.disk.writes_left = None

    def _heal(self) -> None:
        self._note("--", "all faults end")
        self._network.cut_until.clear()
        self._network.faults.clear()
        for machine in (self._server, *self._machines):
            machine.plan = None
            machine.skew = 0.0
            self._make_room(machine)
            machine.wake()
        for device in self._devices:
            device.comes_back, device.leaving = device.leaving, False
        for machine in (self._server, *self._machines):
            machine.boot()

    def _audit(self) -> None:
        """Is everything in the journal that was acknowledged?"""
        database = self._program.database
        if database is None or not self._schedule.honest:
            return
        with database.begin() as connection:
            journal = Journal()
            last = journal.last_round(connection)
            events = [r.event for number in range(1, last + 1) for r in journal.events_of(connection, number)]
            known = set(People().statuses(connection))
            versions = Versions().all(connection)
        self._published = len(versions) - 1
        self._server_watch.still_knows(events, known)
        self._server_watch.check_versions(versions, events)

    def _check_end(self) -> None:
        self._audit()

    def _contributed(self, session: Session, update: Update, randomness: bytes, made: Contribution) -> None:
        if not self._oracle.note(session, update, randomness, made):
            self._fail("randomness", "two contributions are made of the same random bytes")
        for device in self._devices:
            if device.broken:
                self._fail("private", device.broken)

    def _machine(self, name: str, folder: Path, program: Program) -> Machine:
        return Machine(name, self._loop, folder / name, Random(f"{name} {self._schedule.seed}"), program, self._note)

    def _note(self, name: str, what: str) -> None:
        self._effects += 1
        line = f"{self._loop.time():9.3f} {name:8} {what}"
        self._digest = crc32(line.encode(), self._digest)
        self._trace.append(line)

    def _fail(self, rule: str, how: str) -> None:
        if self._failed is None:
            self._failed = Failure(rule, how, list(self._trace))

    def _dispose(self) -> None:
        """End all that is still under way, with no effect."""
        for machine in (self._server, *self._machines):
            machine.stop()
            for process in machine.buried:
                for task in process.tasks:
                    if not task.done():
                        task._log_destroy_pending = False  # type: ignore[attr-defined]
                        process.context.copy().run(_close, task)
        if self._program.database is not None:
            self._program.database.close()
        self._loop.close()


def _close(task: "asyncio.Task[object]") -> None:
    coroutine = task.get_coro()
    assert coroutine is not None, "a task runs a coroutine"
    with suppress(Crashed, RuntimeError):
        coroutine.close()


class _LogWatch(logging.Handler):
    """A traceback in the server's log is a bug."""

    def __init__(self, fail: Fail) -> None:
        super().__init__(logging.WARNING)
        self._fail = fail

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        if error is not None and not isinstance(error, FeditError):
            self._fail("exception", f"server: {record.getMessage()}: {error!r}")
