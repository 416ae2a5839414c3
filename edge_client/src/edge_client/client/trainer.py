"""One update: the adapter comes down, the child trains, and what it gives is kept."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from hashlib import sha256
from pathlib import Path

import numpy as np

from edge_client.data import RecordSource
from edge_client.disk import require_room
from edge_client.state import CorruptStateError, FederationState, Preferences, UpdateFolder
from edge_client.training import Failed, Finished, Progress, TrainEvent, TrainJob
from edge_client.training.failures import ENDED, PASSING, error_of
from edge_client.transport import Transport, delays, download_adapter
from edge_client.yielding import Gate, YieldError
from fedit_shared.errors import UserError
from fedit_shared.messages import Offer, TaskSpec
from fedit_shared.secagg import warm

from . import events
from .threads import in_thread
from .words import span

Train = Callable[[TrainJob], AsyncGenerator[TrainEvent, None]]

DEATHS = 3
"""So often a training child may die before its owner is asked to look. It goes on from its checkpoint each time."""
ADAPTER_COPIES = 11
"""The adapter, the update and the masked update are of about the same size; a checkpoint holds four such vectors, and
while it is replaced there are two."""
RETRY_FACTOR = 15.0
"""A child is started again this much later than a request is sent again: it costs more."""
TELLING_STEPS = 3
"""After so many steps a child's estimate of what is left counts."""


class TooSlowError(Exception):
    """The training would end after the round's muster."""


async def obtain_update(
    offer: Offer,
    task: TaskSpec,
    *,
    state: FederationState,
    preferences: Preferences,
    transport: Transport,
    train: Train,
    emit: Callable[[events.Event], None],
    gate: Gate,
    clock: Callable[[], float] = time.time,
    records: RecordSource | None = None,
) -> UpdateFolder:
    """An unspent update of the offered adapter version: one that is here, or one trained now, while ``gate`` is open.
    Beside the training the masking's kernels are compiled, or loaded. ``records``: what to train on, instead of the
    preferences' data; asked for once an update.

    What may pass (the hub cannot be reached, others hold the memory, the records' disk is not there) is told and tried
    again, until the round's time for training is over. Raises TooSlowError, the UserError or FeditError that training
    failed with, or as the transport does.
    """
    update = await in_thread(_begun_update, state, offer, task)
    if update.trained() is not None:
        return update
    adapter = state.adapter_path(offer.adapter)
    await in_thread(require_room, adapter.parent, ADAPTER_COPIES * offer.adapter_size)
    await download_adapter(
        transport,
        offer.adapter,
        offer.adapter_size,
        adapter,
        lambda received, total: emit(events.Downloading(offer.round, received, total)),
    )
    begun = update.begun()
    assert begun is not None, "written when the folder was made"
    private = await in_thread(state.private.start, offer.adapter, task)
    job = TrainJob(
        task=task,
        round=offer.round,
        adapter=str(adapter),
        private=str(await in_thread(update.begin_with, private)) if private else None,
        data=preferences.data if records is None else await in_thread(update.keep_records, records),
        work=str(update.work),
        seed=begun.seed,
        model_folder=preferences.model_folder,
        memory_bytes=preferences.memory_bytes,
    )
    finished, _ = await asyncio.gather(_train(job, offer, train, emit, clock, gate, transport), in_thread(warm))
    if finished.private_path is not None:
        await in_thread(_keep_private, state, offer, task, update, Path(finished.private_path))
    await in_thread(update.finish, Path(finished.delta_path), examples=finished.examples, loss=finished.loss)
    emit(events.Trained(offer.round, finished.examples, finished.loss))
    return update


def _begun_update(state: FederationState, offer: Offer, task: TaskSpec) -> UpdateFolder:
    """The update to muster or to go on with; a new one if there is none, or the last one is spent."""
    wanted = (offer.adapter, sha256(offer.task).digest(), task.turn(offer.round).number)
    for update in reversed(state.updates):
        begun = update.begun()
        if begun and (begun.adapter, begun.task_hash, begun.turn) == wanted and update.spent_by is None:
            return update
    return state.new_update(*wanted)


def _keep_private(state: FederationState, offer: Offer, task: TaskSpec, update: UpdateFolder, made: Path) -> None:
    """Keep what training made of the tensors that stay here. Done before the update counts as trained: after a kill
    between the two, the child's result is found again."""
    after = state.disk.read(made)
    if after is None:
        raise CorruptStateError(f"{made} is missing.", advice="Start again: the training is repeated.")
    if not np.isfinite(np.frombuffer(after, "<f4")).all():
        update.drop()
        raise UserError(
            "What was trained is not finite: training diverged.",
            advice="Nothing of it is kept. Look for broken records in the data; else the learning rate is too high.",
        )
    state.private.keep(offer.adapter, task, after)


async def _train(
    job: TrainJob,
    offer: Offer,
    train: Train,
    emit: Callable[[events.Event], None],
    clock: Callable[[], float],
    gate: Gate,
    transport: Transport,
) -> Finished:
    """One child after the other until the work is done: each goes on from its predecessor's checkpoint."""
    deaths, pauses = 0, delays()
    while True:
        if not await gate.opened(offer.train_until):
            raise TooSlowError(f"Training was paused until the time for it was over. {gate.reason}")
        try:
            async with gate.working():
                last = await _one_child(job, offer, train, emit, clock)
        except YieldError:
            continue
        if isinstance(last, Finished):
            return last
        if last.code in PASSING:
            await _wait(last, offer, emit, clock, transport.base * RETRY_FACTOR * next(pauses))
            continue
        deaths += 1
        if last.code not in ENDED or deaths == DEATHS:
            raise error_of(last)
        emit(events.Notice(f"{last.message} It is started again and goes on where it was."))


async def _wait(
    failed: Failed, offer: Offer, emit: Callable[[events.Event], None], clock: Callable[[], float], seconds: float
) -> None:
    """Before training is tried again, after what may pass; no longer than the round's time for it."""
    if (left := offer.train_until - clock()) <= 0:
        raise TooSlowError(f"The time for training is over. {failed.message}")
    seconds = min(seconds, left)
    emit(events.Notice(f"{failed.message} {failed.advice} Nothing is lost; next try in {span(seconds)}."))
    await asyncio.sleep(seconds)


async def _one_child(
    job: TrainJob, offer: Offer, train: Train, emit: Callable[[events.Event], None], clock: Callable[[], float]
) -> Finished | Failed:
    """What a child came to. Cancelled, it has ended when this returns, and its memory is free."""
    steps = 0
    last: TrainEvent | None = None
    limit = asyncio.timeout(max(0.0, offer.train_until - clock()))
    try:
        async with limit, aclosing(train(job)) as said:
            async for last in said:
                emit(events.Training(offer.round, last))
                if isinstance(last, Progress):
                    steps += 1
                    left = last.seconds_left if steps >= TELLING_STEPS else 0.0
                    _require_time(offer, clock(), left)
    except TimeoutError:
        if not limit.expired():
            raise
        raise TooSlowError("The time for training is over.") from None
    if isinstance(last, Finished | Failed):
        return last
    return Failed(code="died", message="The training ended without a result.")


def _require_time(offer: Offer, now: float, seconds_left: float) -> None:
    """``seconds_left`` is an estimate: a tenth too much is forgiven."""
    available = offer.train_until - now
    if 0.9 * seconds_left > available:
        raise TooSlowError(f"Training would take {seconds_left:.0f} s more, and the round waits {available:.0f} s.")
