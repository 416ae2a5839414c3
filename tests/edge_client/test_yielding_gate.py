"""The gate: training is called back when it closes, goes on when it opens, and a round that cannot wait is declined."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

from edge_client.client import events
from edge_client.client.trainer import TooSlowError, _train
from edge_client.data import DataSource
from edge_client.state import Pause
from edge_client.training import Failed, Finished, Notice, TrainEvent, TrainJob
from edge_client.yielding import ALWAYS, Gate, Observation, Standing, When, YieldError, gate, parse_when
from fedit_shared.errors import FeditError
from fedit_shared.messages import ModelRef, Offer, TaskSpec, TrainingSettings

NOON = 1_800_000_000.0
FINISHED = Finished(delta_path="", examples=1, tokens=1, loss=1.0, steps=1, seconds=1.0, peak_bytes=1)
DIED = Failed(code="died", message="The child died.")
JOB = TrainJob(
    task=TaskSpec(name="n", model=ModelRef(id="m"), adapter_config="{}", tensors=(), training=TrainingSettings()),
    adapter="",
    data=DataSource(path=""),
    work="",
)
OFFLINE: Any = None
"""Nothing that may pass goes wrong here, so no pause is asked of it."""
OFFER = Offer(
    task=b"",
    round=1,
    adapter=bytes(32),
    adapter_size=1,
    train_until=int(NOON) + 1000,
    not_after=int(NOON) + 2000,
    signature=bytes(64),
)


@pytest.fixture(autouse=True)
def quick_ticks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gate, "TICK_SECONDS", 0.001)
    monkeypatch.setattr(gate, "_SLICE", 0.001)


class Machine:
    """An owner, a clock and a machine that do what a test says."""

    def __init__(self, when: When = ALWAYS) -> None:
        self.pause: Pause | None = None
        self.now = NOON
        self.seen = Observation()
        self.looks = 0
        self.left = 0
        self.ticked = asyncio.Event()
        self.told: list[Standing] = []
        self.gate = Gate(when, pause=self._pause, observe=self._observe, clock=lambda: self.now, told=self.told.append)

    def _pause(self) -> Pause | None:
        self.left -= 1
        if self.left == 0:
            self.loop.call_soon_threadsafe(self.ticked.set)
        return self.pause

    def _observe(self) -> Observation:
        self.looks += 1
        return self.seen

    def run(self, story: Callable[[], AsyncGenerator[None, None]]) -> None:
        """Each ``yield`` of ``story`` lets a few ticks pass."""

        async def main() -> None:
            self.loop = asyncio.get_running_loop()
            watch = asyncio.create_task(self.gate.watch())
            async for _ in story():
                await self.ticks()
            watch.cancel()
            with suppress(asyncio.CancelledError):
                await watch

        asyncio.run(asyncio.wait_for(main(), 60))

    async def ticks(self) -> None:
        self.ticked.clear()
        self.left = 3  # the one that is under way may be too early, the last one is not yet acted upon
        await self.ticked.wait()


def test_work_is_called_back_when_its_owner_pauses_and_may_go_on_afterwards() -> None:
    machine = Machine()

    async def story() -> AsyncGenerator[None, None]:
        ended: list[str] = []

        async def work() -> None:
            try:
                async with machine.gate.working():
                    try:
                        await asyncio.Event().wait()
                    finally:
                        ended.append("stopped")
            except YieldError:
                ended.append("yielded")

        assert await machine.gate.opened()
        working = asyncio.create_task(work())
        yield
        assert not ended
        machine.pause = Pause(until=int(NOON) + 60)
        await working
        assert ended == ["stopped", "yielded"]
        assert "owner" in machine.gate.reason
        with pytest.raises(YieldError):
            async with machine.gate.working():
                await asyncio.Event().wait()
        waiting = asyncio.create_task(machine.gate.opened())
        yield
        assert not waiting.done()
        machine.now += 60
        assert await waiting
        async with machine.gate.working():
            await asyncio.sleep(0)

    machine.run(story)
    assert [(standing.may_work, standing.until) for standing in machine.told] == [
        (False, int(NOON) + 60),
        (True, None),
    ]
    assert machine.looks == 0, "nobody asked for an idle machine"


def test_a_timeout_and_a_cancel_of_the_work_itself_stay_what_they_are() -> None:
    machine = Machine()

    async def story() -> AsyncGenerator[None, None]:
        assert await machine.gate.opened()
        with pytest.raises(TimeoutError):
            async with machine.gate.working():
                raise TimeoutError

        async def work() -> None:
            async with machine.gate.working():
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        yield
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    machine.run(story)


def test_the_machine_is_looked_at_no_more_often_than_needed() -> None:
    machine = Machine(parse_when(["idle"]))

    async def story() -> AsyncGenerator[None, None]:
        yield
        yield
        assert machine.looks == 1
        machine.now += 2.5
        yield
        assert machine.looks == 2

    machine.run(story)


class Children:
    """Training children that end one after the other as the test says, or run until they are stopped."""

    def __init__(self, ends: Iterator[TrainEvent | None]) -> None:
        self.ends = ends
        self.alive = 0
        self.begun = asyncio.Event()

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        self.alive += 1
        try:
            yield Notice(message="begun")
            self.begun.set()
            end = next(self.ends)
            if end is None:
                await asyncio.Event().wait()
            else:
                yield end
        finally:
            self.alive -= 1


def test_pauses_end_the_child_are_no_deaths_and_training_goes_on_in_the_next() -> None:
    machine, said = Machine(), list[events.Event]()

    async def story() -> AsyncGenerator[None, None]:
        children = Children(iter([DIED, None, None, None, DIED, FINISHED]))
        task = asyncio.create_task(
            _train(JOB, OFFER, children.train, said.append, lambda: machine.now, machine.gate, OFFLINE)
        )
        for _ in range(3):
            while not children.alive:
                yield
            machine.pause = Pause()
            while children.alive:
                yield
            yield
            assert not children.alive, "none is started meanwhile"
            machine.pause = None
        assert await task == FINISHED

    machine.run(story)
    assert sum(isinstance(event, events.Notice) for event in said) == 2


def test_the_third_death_is_an_error_all_the_same() -> None:
    machine = Machine()

    async def story() -> AsyncGenerator[None, None]:
        children = Children(iter([DIED, DIED, DIED]))
        with pytest.raises(FeditError, match="died"):
            await _train(JOB, OFFER, children.train, lambda event: None, lambda: machine.now, machine.gate, OFFLINE)
        yield

    machine.run(story)


def test_a_pause_past_the_rounds_muster_declines_it_in_plain_words() -> None:
    machine = Machine()
    machine.pause = Pause()

    async def story() -> AsyncGenerator[None, None]:
        children = Children(iter([]))
        task = asyncio.create_task(
            _train(JOB, OFFER, children.train, lambda event: None, lambda: machine.now, machine.gate, OFFLINE)
        )
        yield
        assert not task.done(), "its owner may still change their mind"
        machine.now = OFFER.train_until + 1.0
        with pytest.raises(TooSlowError, match=r"paused until the time for it was over\. Its owner paused it\."):
            await task

    machine.run(story)
