"""What an experiment's arms share: task, clients, adapter versions, and what was found so far."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import filelock
import msgspec
import numpy as np
from numpy.typing import NDArray

from agg_server.adapters.publishing import adapter_key, read_version
from agg_server.storage.blobs import Blobs
from agg_server.task import read_folder
from benchmarks.machine import machine
from edge_client.data import Example, Record
from edge_client.data.source import HUB
from edge_client.disk import Disk, disk_errors
from edge_client.training.batches import Schedule
from edge_client.training.create import create
from edge_client.training.job import CreateJob
from edge_client.training.model_files import checked_model
from edge_client.training.tokenizer import load_tokenizer
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef, TaskSpec
from fedit_shared.strategies import Role, Turn, require_fits

from .journal import VERSION, Entry, Header, Journal, Later, conditions_of
from .population import Population, populate
from .replies import Replies
from .settings import Arms, Evaluation, Experiment, Machine, Model
from .station import examples_of
from .view import View
from .worker import Work, checkpoint_folder, examples_by, schedule

HELD_OUT = "held-out.jsonl"
"""In a run's folder: the records that judge every arm."""
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy")


@dataclass
class Lab:
    """``start``: SHA-256 of the adapter that every arm begins from; ``model``: the folder of the base model's files;
    ``work``: what only a run that is not finished needs."""

    experiment: Experiment
    population: Population
    task: TaskSpec
    start: bytes
    model: Path
    tokenizer: Any
    blobs: Blobs
    journal: Journal
    replies: Replies
    work: Path
    view: View
    key: str
    _examples: dict[int, list[Example]] = field(default_factory=dict)

    def examples(self, client: int) -> list[Example]:
        """What a client, or EVERYBODY, trains on."""
        if client not in self._examples:
            self._examples[client] = examples_of(client, self.population, self._tokens)
        return self._examples[client]

    def _tokens(self, records: Sequence[Record]) -> list[Example]:
        return examples_by(self.model, self.tokenizer, self.task.training, records)

    def schedule(self, client: int, work: Work) -> Schedule:
        """What a client's ``work`` trains on, step by step."""
        return schedule(self.task.training, self.examples(client), work)

    def read(self, version: bytes) -> NDArray[np.float32]:
        """The values of an adapter version. Raises CorruptError."""
        return wire.read_adapter(read_version(self.blobs, version))[1]

    def write(self, vector: NDArray[np.float32]) -> bytes:
        """Keep an adapter; its version."""
        data = wire.write_adapter(self.task.tensors, vector)
        version = wire.version(data)
        self.blobs.write(adapter_key(version), data)
        return version

    def write_private(self, values: NDArray[np.float32]) -> str:
        """Keep what a client has of its own; its name."""
        data = values.astype("<f4", copy=False).tobytes()
        name = hashlib.sha256(data).hexdigest()
        self.blobs.write(f"private/{name}", data)
        return name

    def with_private(self, version: bytes, turn: Turn, name: str) -> bytes:
        """The version of an adapter that has these values of a client in it."""
        own = np.frombuffer(self.blobs.read(f"private/{name}"), "<f4").astype(np.float32, copy=False)
        return self.write(turn.put(self.read(version), own, Role.KEEP))

    def personal(self, version: bytes, turn: Turn, private: Mapping[str, str]) -> list[bytes]:
        """Versions of an adapter with what clients have of their own in it (``private``, by client): of as many clients
        as the settings say."""
        order = np.random.default_rng([self.experiment.run.seed, 5]).permutation(self.experiment.clients.count)
        chosen = [name for client in order if (name := private.get(str(client)))][: self.experiment.evaluation.personal]
        return [self.with_private(version, turn, name) for name in chosen]

    def is_due(self, number: int) -> bool:
        """Whether arms are judged after this round."""
        return number % self.experiment.evaluation.every == 0 or number == self.experiment.federation.rounds

    def seed(self, *parts: int) -> int:
        """A seed for these numbers, by the experiment's."""
        return int(np.random.SeedSequence([self.experiment.run.seed, *parts]).generate_state(1)[0])

    def work_key(self, *parts: object) -> bytes:
        """A name for these parts, by the experiment's."""
        return hashlib.sha256(repr((self.key, *parts)).encode()).digest()

    def finish(self, entry: Entry, works: Sequence[Work] = ()) -> None:
        """The arm's round is over, and so are these works. Raises UserError if it diverged."""
        self._compare(entry)
        self.journal.add(entry)
        self.replies.forget(entry.arm, entry.round)
        for work in works:
            Disk().remove(checkpoint_folder(self.work, work))

    def finish_judging(self, later: Later) -> None:
        """A round that was over has been judged. Raises UserError if its losses are no numbers."""
        self._compare(later)
        self.journal.judge(later)
        self.replies.forget(later.arm, later.round)

    def _compare(self, line: Entry | Later) -> None:
        """Say so where results go on under other conditions than they were begun."""
        before = self.journal.conditions
        if before and (other := conditions_of(line) - before):
            self.view.say(
                f"{line.arm}, round {line.round}: computed with {' and '.join(sorted(other))}, what came before with "
                f"{' and '.join(sorted(before))}. Differences between arms may come of that; --out names a new folder."
            )


@contextmanager
def open_lab(experiment: Experiment, out: Path, view: View) -> Iterator[Lab]:
    """Make everything ready, or find it in ``out`` as an earlier run left it; nobody else may use ``out`` until the
    end. Raises UserError, and DiskError if the disk refuses."""
    with disk_errors(out):
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / "lock", timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        raise UserError(f"Another run is using {out}.", advice="Wait for its end, or name another folder.") from error
    with lock:
        yield _open(experiment, out, view)


def _open(experiment: Experiment, out: Path, view: View) -> Lab:
    view.now("reading the data")
    population = populate(experiment)
    if known := population.trained_on:
        of = f"{known} of {len(population.evaluation)} held-out records"
        view.say(f"{of} are trained on all the same: the data set has them twice.")
    view.now("making the start adapter")
    folder = model_folder(experiment)
    config, data, reference = _start_adapter(experiment, folder, out)
    tensors, _ = wire.read_adapter(data)
    task = TaskSpec(
        name=experiment.run.name,
        model=reference,
        adapter_config=config,
        tensors=tensors,
        training=experiment.training,
        strategy=experiment.federation.strategy,
        proximal=experiment.federation.proximal,
    )
    for strategy in experiment.strategies:
        try:
            require_fits(strategy, (tensor.name for tensor in tensors))
        except ValueError as error:
            raise UserError(f"The model's adapter cannot be trained in this way: {error}.") from error
    key = _key(experiment, population, task)
    header = Header(
        name=experiment.run.name,
        key=key,
        version=VERSION,
        rounds=experiment.federation.rounds,
        categories=tuple(record.category for record in population.evaluation),
        holdings=tuple(population.holdings()),
        heterogeneity=population.heterogeneity,
        machine=machine(*_LIBRARIES),
        settings=_told(experiment, task.model),
        adapter_config=config,
    )
    journal = Journal(out, header)
    lines = b"".join(msgspec.json.encode(record) + b"\n" for record in population.evaluation)
    Disk().write(out / HELD_OUT, lines)
    blobs = Blobs(out / "blobs")
    start = wire.version(data)
    blobs.write(adapter_key(start), data)
    view.now("checking the model's files")
    model = checked_model(task.model, folder, view.say, lambda here, total: None)
    work = out / "work" / key[:16]
    return Lab(
        experiment,
        population,
        task,
        start,
        model,
        load_tokenizer(model),
        blobs,
        journal,
        Replies(work),
        work,
        view,
        key,
    )


def model_folder(experiment: Experiment) -> str | None:
    """Where the model's files lie; None: on the hub, or in its cache."""
    return experiment.model.id if Path(experiment.model.id).is_dir() else None


def _start_adapter(experiment: Experiment, model: str | None, out: Path) -> tuple[str, bytes, ModelRef]:
    """Configuration, file and model of the adapter that all arms begin from. Its folder is named by what decides it:
    one that a run with other settings left there is not taken for it."""
    shape = experiment.adapter
    job = CreateJob(
        model=model or experiment.model.id,
        out="",
        revision=experiment.model.revision or None,
        rank=shape.rank,
        alpha=shape.alpha,
        dropout=shape.dropout,
        target_modules=shape.modules,
        seed=experiment.run.seed,
    )
    folder = out / "adapter" / hashlib.sha256(msgspec.msgpack.encode(job)).hexdigest()[:16]
    if not folder.exists():
        create(msgspec.structs.replace(job, out=str(folder)))
    config, data, reference = read_folder(folder)
    assert reference is not None  # create wrote it
    return config, data, reference


def _decisive(experiment: Experiment) -> Experiment:
    """The settings that decide an arm's results: without paths, the machine's, and which arms there are. So an arm can
    be added to a run that is finished."""
    judged = experiment.evaluation
    return msgspec.structs.replace(
        experiment,
        data=msgspec.structs.replace(experiment.data, files=("",)),
        model=Model(id="in the task"),
        evaluation=Evaluation(every=judged.every, personal=judged.personal, max_length=judged.max_length),
        arms=Arms(),
        machine=Machine(),
    )


def _told(experiment: Experiment, model: ModelRef) -> dict[str, Any]:
    """What a journal says of its settings: files by their names alone, ``model`` as the task names it. Its arms are
    those that it has lines of."""
    settings: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(_decisive(experiment)))
    del settings["arms"], settings["machine"]
    more = experiment.evaluation.file
    settings["data"]["files"] = [_name(file) for file in experiment.data.files]
    settings["evaluation"]["file"] = None if more is None else _name(more)
    settings["model"] = {"id": model.id, "revision": model.revision}
    return settings


def _name(file: str) -> str:
    return file if file.startswith(HUB) else Path(file).name


def _key(experiment: Experiment, population: Population, task: TaskSpec) -> str:
    """In hex, over all that decides the results: settings, records, model and start."""
    people: Sequence[object] = (population.records, population.dealt, population.evaluation)
    return hashlib.sha256(msgspec.msgpack.encode((_decisive(experiment), people, task), order="sorted")).hexdigest()
