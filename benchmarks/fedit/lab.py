"""What an experiment's arms share: task, clients, worker, adapter versions, and what was found so far."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from agg_server.blobs import Blobs
from agg_server.publishing import adapter_key, read_version
from agg_server.task import read_folder
from edge_client.data import Example
from edge_client.hardware import find_hardware
from edge_client.training.create import create
from edge_client.training.job import CreateJob
from edge_client.training.model_files import checked_model
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef, TaskSpec

from .journal import Header, Journal, Judged
from .population import Population, populate
from .settings import Evaluation, Experiment, Machine, Model
from .view import View
from .worker import Worker

EVERYBODY = -1
"""In place of a client's number: all records that were dealt."""


@dataclass
class Lab:
    """``start``: SHA-256 of the adapter that every arm begins from."""

    experiment: Experiment
    population: Population
    task: TaskSpec
    start: bytes
    worker: Worker
    blobs: Blobs
    journal: Journal
    view: View
    key: str
    _examples: dict[int, list[Example]] = field(default_factory=dict)

    def examples(self, client: int) -> list[Example]:
        """What a client, or EVERYBODY, trains on."""
        if client not in self._examples:
            own = self.population.records if client == EVERYBODY else self.population.of(client)
            try:
                self._examples[client] = self.worker.examples(own)
            except UserError as error:
                raise UserError(f"Client {client}: {error.message}", advice=error.advice) from error
        return self._examples[client]

    def read(self, version: bytes) -> NDArray[np.float32]:
        """The values of an adapter version. Raises CorruptError."""
        return wire.read_adapter(read_version(self.blobs, version))[1]

    def write(self, vector: NDArray[np.float32]) -> bytes:
        """Keep an adapter; its version."""
        data = wire.write_adapter(self.task.tensors, vector)
        version = wire.version(data)
        self.blobs.write(adapter_key(version), data)
        return version

    def judge(self, version: bytes | None) -> Judged:
        """The evaluation's losses under an adapter version, or under the base model alone."""
        path = None if version is None else self.blobs.path(adapter_key(version))
        records = self.worker.evaluate(path, self.population.evaluation).records
        return Judged(losses=tuple(r.loss_sum for r in records), tokens=tuple(r.tokens for r in records))

    def is_due(self, number: int) -> bool:
        """Whether arms are judged after this round."""
        return number % self.experiment.evaluation.every == 0 or number == self.experiment.federation.rounds

    def seed(self, *parts: int) -> int:
        """A seed for these numbers, by the experiment's."""
        return int(np.random.SeedSequence([self.experiment.run.seed, *parts]).generate_state(1)[0])

    def work_key(self, *parts: object) -> bytes:
        """A name for these parts, by the experiment's."""
        return hashlib.sha256(repr((self.key, *parts)).encode()).digest()


def open_lab(experiment: Experiment, out: Path, view: View) -> Lab:
    """Make everything ready, or find it in ``out`` as an earlier run left it. Raises UserError."""
    view.now("reading the data")
    population = populate(experiment)
    model_folder = experiment.model.id if Path(experiment.model.id).is_dir() else None
    view.now("making the start adapter")
    config, data, reference = _start_adapter(experiment, model_folder, out)
    tensors, _ = wire.read_adapter(data)
    task = TaskSpec(
        name=experiment.run.name,
        model=reference,
        adapter_config=config,
        tensors=tensors,
        training=experiment.training,
    )
    key = _key(experiment, population, task)
    header = Header(
        name=experiment.run.name,
        key=key,
        rounds=experiment.federation.rounds,
        categories=tuple(record.category for record in population.evaluation),
        holdings=tuple(population.holdings()),
        heterogeneity=population.heterogeneity,
        machine=_machine(),
    )
    journal = Journal(out, header)
    blobs = Blobs(out / "blobs")
    start = wire.version(data)
    blobs.write(adapter_key(start), data)
    folder = checked_model(task.model, model_folder, view.say, lambda here, total: None)
    view.now("loading the model")
    worker = Worker(folder, task, experiment.machine, out / "work", view.say)
    return Lab(experiment, population, task, start, worker, blobs, journal, view, key)


def _start_adapter(experiment: Experiment, model_folder: str | None, out: Path) -> tuple[str, bytes, ModelRef]:
    """Configuration, file and model of the adapter that all arms begin from."""
    folder, shape = out / "adapter", experiment.adapter
    if not folder.exists():
        create(
            CreateJob(
                model=model_folder or experiment.model.id,
                out=str(folder),
                revision=experiment.model.revision or None,
                rank=shape.rank,
                alpha=shape.alpha,
                dropout=shape.dropout,
                target_modules=shape.modules,
                seed=experiment.run.seed,
            )
        )
    config, data, reference = read_folder(folder)
    assert reference is not None  # create wrote it
    return config, data, reference


def _key(experiment: Experiment, population: Population, task: TaskSpec) -> str:
    """In hex, over all that decides the results: settings but for paths and the machine's, records, model and start."""
    settings = msgspec.structs.replace(
        experiment,
        data=msgspec.structs.replace(experiment.data, files=("",)),
        model=Model(id="in the task"),
        evaluation=Evaluation(every=experiment.evaluation.every),
        machine=Machine(),
    )
    people: Sequence[object] = (population.records, population.dealt, population.evaluation)
    return hashlib.sha256(msgspec.msgpack.encode((settings, people, task), order="sorted")).hexdigest()


def _machine() -> dict[str, object]:
    hardware = find_hardware()
    return {
        "cpu": hardware.cpu,
        "cores": hardware.cores,
        "memory_gib": round(hardware.memory_bytes / 2**30, 1),
        "cards": [card.name for card in hardware.gpus],
        "versions": hardware.versions,
    }
