"""Training that its machine's owner pauses: the child goes, its successor goes on, and the bits are the same."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from children import training_children
from tiny_model import Workshop

from edge_client.client import Event, Training
from edge_client.client.trainer import obtain_update
from edge_client.state import FederationState, Pause, Preferences
from edge_client.training import Finished, Planned, Progress, TrainEvent, TrainJob, run_training
from edge_client.yielding import ALWAYS, Gate, Observation, gate
from fedit_shared.messages import Offer, encode

NOW = 1_800_000_000
STEPS = 150


def alone(job: TrainJob, **changes: object) -> TrainJob:
    return msgspec.structs.replace(job, threads=1, device="cpu", **changes)


async def last_of(events: AsyncGenerator[TrainEvent, None]) -> TrainEvent:
    async with aclosing(events):
        return [event async for event in events][-1]


def test_paused_in_the_midst_it_ends_with_the_same_bits_as_undisturbed(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "TICK_SECONDS", 0.01)
    task = workshop.task(steps=STEPS, batch_size=5)
    job = workshop.job(task=task)
    adapter = Path(job.adapter).read_bytes()
    offer = Offer(
        task=encode(task),
        round=1,
        adapter=sha256(adapter).digest(),
        adapter_size=len(adapter),
        train_until=NOW + 3600,
        not_after=NOW + 7200,
        signature=bytes(64),
    )
    jobs: list[TrainJob] = []
    said: list[TrainEvent] = []
    pauses = [1, 60]
    """After these steps."""

    async def paused_and_resumed(state: FederationState) -> bytes:
        def hear(event: Event) -> None:
            if not isinstance(event, Training):
                return
            said.append(event.event)
            if isinstance(event.event, Progress) and pauses and event.event.step >= pauses[0]:
                pauses.pop(0)
                state.pause = Pause()

        async def train(job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
            jobs.append(job)
            try:
                async with aclosing(run_training(alone(job))) as events:
                    async for event in events:
                        yield event
            finally:
                gone.set()

        gone = asyncio.Event()
        door = Gate(ALWAYS, pause=lambda: state.pause, observe=Observation, clock=lambda: NOW, told=lambda _: None)
        watch = asyncio.create_task(door.watch())
        work = asyncio.create_task(
            obtain_update(
                offer,
                task,
                state=state,
                preferences=Preferences(data=job.data, model_folder=job.model_folder),
                transport=None,  # type: ignore[arg-type]  # the adapter is here
                train=train,
                emit=hear,
                gate=door,
                clock=lambda: NOW,
            )
        )
        for _ in range(len(pauses)):
            await gone.wait()
            gone.clear()
            assert training_children() == [], "its memory is free"
            assert state.pause is not None
            state.pause = None
        update = await work
        watch.cancel()
        return update.delta()

    with FederationState(tmp_path / "state") as state:
        state.adapter_path(offer.adapter).write_bytes(adapter)
        delta = asyncio.run(paused_and_resumed(state))

    starts = [event.first_step for event in said if isinstance(event, Planned)]
    assert len(starts) == 3
    for after, start in zip([1, 60], starts[1:], strict=True):
        assert after <= start < STEPS, "a stop that was asked for loses nothing, and came in the midst"
    quiet = asyncio.run(last_of(run_training(alone(jobs[0], work=str(tmp_path / "quiet")))))
    assert isinstance(quiet, Finished)
    assert Path(quiet.delta_path).read_bytes() == delta
