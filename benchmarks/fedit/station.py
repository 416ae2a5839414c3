"""Where jobs are done: one base model, the run's records and adapter versions; in any process, on any machine."""

from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np

from agg_server.adapters.publishing import adapter_key, read_version
from agg_server.storage.blobs import Blobs
from edge_client.data import Example, Record
from edge_client.training.events import TrainEvent
from edge_client.training.model_files import checked_model
from fedit_shared import adapter as wire
from fedit_shared.errors import FeditError, UserError
from fedit_shared.messages import TaskSpec

from .jobs import DECODE_JOB, Advance, Advanced, Failed, Job, Judge, Reply, Scored, Train, Trained
from .journal import Judged
from .population import EVERYBODY, Population
from .settings import Machine
from .worker import Notify, Worker

Emit = Callable[[TrainEvent], None]


class Opening(msgspec.Struct, frozen=True, kw_only=True):
    """What a station is opened with. ``model``: the model's folder, None to find or fetch the task's; ``blobs``: where
    adapter versions lie; ``work``: where checkpoints do."""

    task: TaskSpec
    machine: Machine
    model: str | None
    blobs: str
    work: str


class Station:
    """Raises what loading a model raises."""

    def __init__(self, opening: Opening, population: Population, notify: Notify) -> None:
        folder = checked_model(opening.task.model, opening.model, notify, lambda here, total: None)
        self.blobs = Blobs(Path(opening.blobs))
        self._population = population
        self._worker = Worker(folder, opening.task, opening.machine, Path(opening.work), notify)
        self._examples: dict[int, list[Example]] = {}

    def do(self, job: Job, emit: Emit) -> Reply:
        """Raises UserError for what a person has to mend."""
        match job:
            case Train():
                start = self._vector(job.version)
                done, seconds = self._worker.train(start, self._examples_of(job.client), job.work, emit)
                delta, private = (part.astype("<f4", copy=False).tobytes() for part in (done.delta, done.private))
                return Trained(
                    delta=delta,
                    private=private,
                    examples=done.examples,
                    loss=done.loss,
                    seconds=seconds,
                    conditions=self._worker.conditions,
                )
            case Advance():
                start = self._vector(job.version)
                stage = self._worker.advance(start, self._examples_of(job.client), job.work, job.until, emit)
                adapter = stage.vector.astype("<f4", copy=False).tobytes()
                loss, conditions = stage.loss / stage.learned, self._worker.conditions
                return Advanced(adapter=adapter, loss=loss, seconds=stage.seconds, conditions=conditions)
            case Judge():
                path = None if job.version is None else self.blobs.path(adapter_key(job.version))
                part = self._population.evaluation[job.first : job.last]
                records = self._worker.evaluate(path, part, job.max_length).records
                losses, tokens = tuple(r.loss_sum for r in records), tuple(r.tokens for r in records)
                return Scored(judged=Judged(losses=losses, tokens=tokens, conditions=(self._worker.conditions,)))

    def _vector(self, version: bytes) -> np.ndarray[tuple[int], np.dtype[np.float32]]:
        return wire.read_adapter(read_version(self.blobs, version))[1]

    def _examples_of(self, client: int) -> list[Example]:
        if client not in self._examples:
            self._examples[client] = examples_of(client, self._population, self._worker.examples)
        return self._examples[client]


def examples_of(
    client: int, population: Population, make: Callable[[tuple[Record, ...]], list[Example]]
) -> list[Example]:
    """What a client trains on, or EVERYBODY. Raises UserError naming the client that has nothing."""
    try:
        return make(population.of(client))
    except UserError as error:
        who = "All clients together" if client == EVERYBODY else f"Client {client}"
        raise UserError(f"{who}: {error.message}", advice=error.advice) from error


def answer(station: Callable[[], Station], job: bytes, emit: Emit) -> bytes:
    """The encoded reply to an encoded job; Failed for what a person has to mend."""
    try:
        reply: Reply | Failed = station().do(DECODE_JOB.decode(job), emit)
    except FeditError as error:
        reply = Failed(message=error.message, advice=error.advice)
    return msgspec.msgpack.encode(reply)
