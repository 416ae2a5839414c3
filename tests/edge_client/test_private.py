"""What a strategy keeps on the device: it goes on from round to round, through kills, lost rounds and retraining."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from cohorts import Cohort

from edge_client.client.trainer import obtain_update
from edge_client.data import DataSource
from edge_client.state import CorruptStateError, Disk, FederationState, Preferences, UpdateFolder
from edge_client.training import Finished, TrainEvent, TrainJob
from edge_client.yielding import ALWAYS, Gate, Observation
from fedit_shared.errors import UserError
from fedit_shared.messages import Offer, TaskSpec, decode_task, encode
from fedit_shared.strategies import Role

TASK = decode_task(Cohort(3, strategy="shared-a").task)
SIZE = 67
OWN = 0.5
"""Of the published adapters' B."""


class Killed(BaseException):
    """The process is gone at this very place."""


class DyingDisk(Disk):
    """Counts writes and removals, and ends the process before, or after, one of them."""

    def __init__(self, point: int = -1, *, after: bool = False) -> None:
        self.point, self.after, self.count = point, after, 0

    def _reach(self, done: bool) -> None:
        if self.count == self.point and done is self.after:
            self.point = -1
            raise Killed

    def write(self, path: Path, data: bytes) -> None:
        self._reach(False)
        super().write(path, data)
        self._reach(True)
        self.count += 1

    def remove(self, path: Path) -> None:
        self._reach(False)
        super().remove(path)
        self._reach(True)
        self.count += 1


def trained(before: np.ndarray, seed: int) -> np.ndarray:
    """What training makes of B: it depends on where it began, and on the update's seed."""
    return (before * 2 + np.random.default_rng(seed).normal(0, 1, SIZE)).astype("<f4")


async def train(job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
    """A trainer that costs nothing."""
    turn = job.task.turn(job.round)
    before = np.full(SIZE, OWN, "<f4") if job.private is None else np.fromfile(job.private, "<f4")
    work = Path(job.work)
    np.full(turn.dimension, job.seed, "<f4").tofile(work / "delta")
    if turn.pick(turn.sizes, Role.KEEP):
        trained(before, job.seed).tofile(work / "own")
    yield Finished(
        delta_path=str(work / "delta"),
        private_path=str(work / "own") if turn.pick(turn.sizes, Role.KEEP) else None,
        examples=1,
        tokens=1,
        loss=1.0,
        steps=1,
        seconds=0.0,
        peak_bytes=0,
    )


def obtain(state: FederationState, adapter: bytes, number: int = 1, task: TaskSpec = TASK) -> UpdateFolder:
    """Take part on this version as far as the muster."""
    path = state.adapter_path(sha256(adapter).digest())
    path.write_bytes(adapter)
    offer = Offer(
        task=encode(task),
        round=number,
        adapter=sha256(adapter).digest(),
        adapter_size=len(adapter),
        train_until=int(time.time()) + 100,
        not_after=int(time.time()) + 200,
        signature=bytes(64),
    )

    async def go() -> UpdateFolder:
        gate = Gate(ALWAYS, pause=lambda: None, observe=Observation, clock=time.time, told=print)
        watch = asyncio.create_task(gate.watch())
        try:
            return await obtain_update(
                offer,
                task,
                state=state,
                preferences=Preferences(data=DataSource(path="none")),
                transport=None,  # type: ignore[arg-type]
                train=train,
                emit=lambda event: None,
                gate=gate,
            )
        finally:
            watch.cancel()

    return asyncio.run(go())


def seed_of(update: UpdateFolder) -> int:
    begun = update.begun()
    assert begun is not None
    return begun.seed


def kept(state: FederationState, task: TaskSpec = TASK) -> list[float]:
    newest = state.private.newest(task)
    assert newest is not None
    return np.frombuffer(newest[1], "<f4").tolist()


def test_a_round_begins_with_what_the_round_before_it_left(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        own = np.full(SIZE, OWN, "<f4")
        for number, adapter in enumerate((b"v0", b"v1", b"v2"), start=1):
            update = obtain(state, adapter, number)
            own = trained(own, seed_of(update))
            assert kept(state) == own.tolist()
            update.spend("sent")


def test_a_lost_round_and_another_training_from_the_same_version_begin_where_the_first_one_did(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        first = trained(np.full(SIZE, OWN, "<f4"), seed_of(obtain(state, b"v0")))
        lost = obtain(state, b"v1", 2)
        lost.spend("its round failed, and nobody can show that it is in no sum")
        again = obtain(state, b"v1", 3)
        assert again.name != lost.name
        assert kept(state) == trained(first, seed_of(again)).tolist()
        assert obtain(state, b"v1", 4).name == again.name, "an update that was not sent is mustered as it is"
        assert kept(state) == trained(first, seed_of(again)).tolist()
        second = trained(first, seed_of(again))
        following = obtain(state, b"v2", 5)
        assert kept(state) == trained(second, seed_of(following)).tolist()


def test_a_training_that_was_begun_and_given_up_leaves_no_trace(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        first = trained(np.full(SIZE, OWN, "<f4"), seed_of(obtain(state, b"v0")))
        state.new_update(sha256(b"v1").digest(), sha256(encode(TASK)).digest())
        assert kept(state) == first.tolist()
        update = obtain(state, b"v2", 3)
        assert kept(state) == trained(first, seed_of(update)).tolist()


@pytest.mark.parametrize("after", [False, True])
def test_killed_at_any_write_it_goes_on_to_the_same_values(tmp_path: Path, after: bool) -> None:
    whole = DyingDisk()
    with FederationState(tmp_path / "whole", whole) as state:
        obtain(state, b"v0").spend("sent")
        begins = whole.count
        obtain(state, b"v1", 2)
    assert whole.count - begins > 5
    for point in range(begins, whole.count):
        folder = tmp_path / str(point)
        with FederationState(folder, DyingDisk()) as state:
            first = obtain(state, b"v0")
            first.spend("sent")
            start = trained(np.full(SIZE, OWN, "<f4"), seed_of(first))
        with FederationState(folder, dying := DyingDisk()) as state:
            dying.point, dying.after = point - begins + dying.count, after
            with pytest.raises(Killed):
                obtain(state, b"v1", 2)
        with FederationState(folder) as state:
            update = obtain(state, b"v1", 2)
            assert kept(state) == trained(start, seed_of(update)).tolist(), point
            assert np.frombuffer(update.delta(), "<f4")[0] == seed_of(update)


def test_other_tensors_or_another_model_begin_anew_and_other_training_settings_do_not(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        first = trained(np.full(SIZE, OWN, "<f4"), seed_of(obtain(state, b"v0")))
        replace: Callable[..., Any] = msgspec.structs.replace
        slower = replace(TASK, training=replace(TASK.training, learning_rate=1e-5))
        assert kept(state, slower) == first.tolist()
        for other in (replace(TASK, model=replace(TASK.model, id="other")), replace(TASK, tensors=TASK.tensors[:1])):
            assert state.private.newest(other) is None
            assert state.private.start(bytes(32), other) == b""


def test_damaged_private_values_are_told_and_not_trained_on(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        obtain(state, b"v0").spend("sent")
        path = tmp_path / "private"
        whole = path.read_bytes()
        for wrong in (whole[:-3], whole[:-9] + bytes([whole[-9] ^ 1]) + whole[-8:]):
            path.write_bytes(wrong)
            with pytest.raises(CorruptStateError, match="private is damaged"):
                obtain(state, b"v1", 2)
        path.write_bytes(whole)
        obtain(state, b"v1", 2)


def test_a_training_that_diverged_leaves_the_values_as_they_were(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with FederationState(tmp_path) as state:
        first = trained(np.full(SIZE, OWN, "<f4"), seed_of(obtain(state, b"v0")))
        with monkeypatch.context() as broken:
            broken.setitem(globals(), "trained", lambda before, seed: np.full(SIZE, np.nan, "<f4"))
            with pytest.raises(UserError, match="diverged"):
                obtain(state, b"v1", 2)
        assert kept(state) == first.tolist()
        update = obtain(state, b"v1", 2)
        assert kept(state) == trained(first, seed_of(update)).tolist()


def test_a_strategy_without_private_tensors_keeps_no_such_file(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        obtain(state, b"v0", task=decode_task(Cohort(3, strategy="ffa-lora").task))
        assert not (tmp_path / "private").exists()


def test_an_update_is_of_the_turn_for_which_it_was_trained(tmp_path: Path) -> None:
    task = decode_task(Cohort(3, strategy="rolora").task)
    with FederationState(tmp_path) as state:
        of_b = obtain(state, b"v0", 1, task)
        assert len(of_b.delta()) == 4 * 67
        assert obtain(state, b"v0", 3, task).name == of_b.name, "the turn that failed comes again"
        seed = seed_of(of_b)
        of_a = obtain(state, b"v0", 4, task)  # what an honest server does not ask for
        assert len(of_a.delta()) == 4 * 33
        assert seed_of(of_a) != seed
        assert state.update(of_b.name) is None
