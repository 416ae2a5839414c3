"""Simulated machines, and the processes that live and die on them.

Which process a piece of code belongs to is known from its context: every task, timer and thread that a process starts
inherits :data:`PROCESS`. Each thing that others could notice (a disk operation, a commit, a message) is an *effect*,
and announced to its process first and last, so a crash can strike between any two of them.
"""

import asyncio
import re
from collections.abc import Callable, Coroutine
from contextlib import suppress
from contextvars import Context, copy_context
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from .disk import SimDisk
from .loop import PROCESS, Crashed, VirtualLoop

_DEAL = re.compile(r"(/packets/[0-9a-f]{64})-[0-9a-f]+")
"""A deal's hash: round keys come from the library's own randomness, which differs from run to run."""


@dataclass
class Plan:
    """A crash that is to come: ``effects`` after the next one that ``near`` is a part of. ``power``: what is not synced
    is lost as well."""

    effects: int
    power: bool
    restart: float
    seed: int
    near: str = ""


class Process:
    """One run of a program, from its start to its end or its death."""

    def __init__(self, machine: "Machine") -> None:
        self.machine = machine
        self.alive = True
        self.tasks: list[asyncio.Task[Any]] = []
        self.held: list[asyncio.Handle] = []
        """What should have run while the machine slept."""
        self.unanswered: list[asyncio.Future[Any]] = []
        """Requests of others that this process has taken and not answered."""
        self.locks: list[Any] = []
        """File locks, which an operating system takes back from the dead."""
        self.context = copy_context()
        self.context.run(PROCESS.set, self)

    @property
    def asleep(self) -> bool:
        return self.machine.asleep

    def effect(self, what: str) -> None:
        """Raise Crashed if this process is dead, or dies just now."""
        if not self.alive:
            raise Crashed
        machine = self.machine
        machine.note(what)
        plan = machine.plan
        if plan is not None and plan.near in what:
            plan.near = ""
            plan.effects -= 1
            if plan.effects < 0:
                machine.plan = None
                machine.crash(plan)
                raise Crashed


Program = Callable[["Machine"], Coroutine[Any, Any, float | None]]


@dataclass
class Machine:
    """A computer: a disk, a clock that may be wrong, a link to the network, and at most one process of ours.

    ``program``: what it runs, again and again; it returns the seconds after which it wants to be started anew, None
    for never.
    """

    name: str
    loop: VirtualLoop
    root: Path
    random: Random
    program: Program
    note_trace: Callable[[str, str], None]
    skew: float = 0.0
    asleep: bool = False
    plan: Plan | None = None
    process: Process | None = None
    failure: BaseException | None = None
    context: Context = field(default_factory=copy_context)

    def __post_init__(self) -> None:
        self.disk = SimDisk(self.root)
        self.buried: list[Process] = []
        self._boot: asyncio.TimerHandle | None = None
        self._main: asyncio.Task[float | None] | None = None
        self._halting: float | None = None

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.alive

    def note(self, what: str) -> None:
        self.note_trace(self.name, _DEAL.sub(r"\1", what))

    def boot(self) -> None:
        """Start the program, unless it runs."""
        if self._boot is not None:
            self._boot.cancel()
            self._boot = None
        if self.running:
            return
        self.note("starts")
        process = self.process = Process(self)
        task = self._main = process.context.run(lambda: self.loop.create_task(self.program(self)))
        task.add_done_callback(lambda task: self._ended(process, task), context=self.context)

    def crash(self, plan: Plan) -> None:
        """Everything of the process stops at once, wherever it is."""
        self.context.copy().run(self._crash, plan)

    def _crash(self, plan: Plan) -> None:
        self.note("loses power" if plan.power else "is killed")
        self.stop()
        if plan.power:
            self.disk.lose_power(Random(plan.seed))
        self._boot_in(plan.restart)

    def stop(self) -> None:
        """End the process without a word. Called by the simulator."""
        process, self.process = self.process, None
        if process is None:
            return
        process.alive = False
        self.buried.append(process)
        for lock in process.locks:
            with suppress(Exception):
                lock.release(force=True)
        for future in process.unanswered:
            if not future.done():
                self.loop.call_soon(_disconnect, future, context=self.context)

    def halt(self, restart: float) -> None:
        """Ask the process to end in order; start it again ``restart`` seconds after it has."""
        if self._main is not None and self.running:
            self._halting = restart
            self._main.cancel()

    def sleep(self, seconds: float) -> None:
        """Suspend: nothing of it runs until it wakes."""
        self.asleep = True
        self.loop.call_later(seconds, self.wake, context=self.context)

    def wake(self) -> None:
        self.asleep = False
        if self.process is not None:
            held, self.process.held = self.process.held, []
            self.loop.requeue(held)

    def _ended(self, process: Process, task: asyncio.Task[float | None]) -> None:
        if not process.alive:
            return
        self.stop()
        if task.cancelled():
            again = self._halting
        elif (error := task.exception()) is not None:
            self.failure, again = error, None
        else:
            again = task.result()
        self.note("has ended")
        if again is not None:
            self._boot_in(again)

    def _boot_in(self, seconds: float) -> None:
        if self._boot is not None:
            self._boot.cancel()
        self._boot = self.loop.call_later(seconds, self.boot, context=self.context)


def _disconnect(future: "asyncio.Future[Any]") -> None:
    if not future.done():
        future.set_exception(ConnectionResetError("the other side is gone"))


def current() -> Process | None:
    """The process whose code is running; None for the simulator itself."""
    process = PROCESS.get()
    return process if isinstance(process, Process) else None


__all__ = ["PROCESS", "Crashed", "Machine", "Plan", "Process", "current"]
