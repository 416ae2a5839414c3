"""One base model in this process: any client's local work, and evaluation, by the client's own code."""

from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from edge_client.data import Example, Record
from edge_client.inference.protocol import Evaluate, Evaluation
from edge_client.inference.server import Server
from edge_client.training.batches import Schedule
from edge_client.training.events import TrainEvent
from edge_client.training.loading import choose_device, load_base
from edge_client.training.local import (
    Done,
    Lengths,
    Workplace,
    amount,
    cut_length,
    finish,
    lengths_of,
    make_examples,
    make_work,
)
from edge_client.training.memory import Budget
from edge_client.training.planner import Planning, make_plan
from edge_client.training.tokenizer import load_tokenizer
from edge_client.training.trainer import Trainer
from edge_client.training.work_folder import WorkFolder
from fedit_shared.messages import TaskSpec, TrainingSettings
from fedit_shared.messages.task import Quantization
from fedit_shared.strategies import Turn

from .settings import Machine

Notify = Callable[[str], None]


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """Local work to be done. ``key``: 32 bytes, its name, under which a checkpoint is found again; ``records``: how
    many to train on, repetitions counted, if not as many as the task's settings say; ``proximal``: μ of FedProx;
    ``strategy`` and ``round``: what is trained; one who learns alone trains everything."""

    key: bytes
    seed: int
    records: int | None = None
    proximal: float = 0.0
    strategy: str = "fedavg"
    round: int = 1


class Stage(NamedTuple):
    """Where a work stands. ``vector``: float32, the adapter; ``learned``: tokens that carried loss up to now;
    ``loss``: sum over them, in nats; ``seconds``: of training, over all runs."""

    vector: NDArray[np.float32]
    steps: int
    learned: int
    loss: float
    seconds: float


def schedule(settings: TrainingSettings, examples: Sequence[Example], work: Work) -> Schedule:
    """What ``work`` trains on, step by step."""
    records = amount(settings, len(examples)) if work.records is None else work.records
    return Schedule(examples, settings.batch_size, records, work.seed)


def examples_by(model: Path, tokenizer: Any, settings: TrainingSettings, records: Sequence[Record]) -> list[Example]:
    """The records as tokens for the model in this folder, less those with nothing to learn, as a client makes them.
    Raises UserError if none is left."""
    return make_examples(records, tokenizer, model, settings, lambda text: None, refuse=False)


def checkpoint_folder(folder: Path, work: Work) -> Path:
    """Where below ``folder`` the checkpoint of ``work`` lies."""
    return folder / work.key.hex()


class Worker:
    """``folder``: the model's files; ``work``: where checkpoints lie, a folder for each work. Raises what loading a
    model raises."""

    def __init__(self, folder: Path, task: TaskSpec, machine: Machine, work: Path, notify: Notify) -> None:
        if machine.threads is not None:
            torch.set_num_threads(machine.threads)
        self._folder, self._task, self._work = folder, task, work
        self._checkpoint_seconds = machine.checkpoint
        self._device = choose_device(machine.device)
        self._budget = Budget(self._device, machine.memory)
        tokenizer = load_tokenizer(folder)
        self._base_bytes = self._budget.used()
        allowed = task.training.quantization
        expected = Lengths(cut_length(folder, task.training), uneven=True)  # as nearly all data is
        first = self._plan(expected, None, allowed).way.quantization
        if machine.memory is not None:
            self._budget.apply()
        self.base = load_base(folder, allowed[allowed.index(first) :], self._device, notify, tokenizer)
        self._place = Workplace(self.base, task, notify)
        self._server = Server(
            self.base, self._budget, lambda event: None, config=task.adapter_config, adapter=self._place.adapter
        )
        self._budget.release()

    @property
    def conditions(self) -> str:
        """What decides results besides the settings: device, what the base model is held in, libraries' versions."""
        card = f" {torch.cuda.get_device_name(self._device)}" if self._device.type == "cuda" else ""
        held = f"{self.base.quantization}, {str(self.base.dtype).removeprefix('torch.')}"
        libraries = ", ".join(f"{name} {version(name)}" for name in ("torch", "transformers", "peft"))
        return f"{self._device.type}{card}, {held}, {libraries}"

    def examples(self, records: Sequence[Record]) -> list[Example]:
        """The records as tokens, less those with nothing to learn. Raises UserError if none is left."""
        return examples_by(self._folder, self.base.tokenizer, self._task.training, records)

    def train(
        self,
        vector: NDArray[np.float32],
        examples: Sequence[Example],
        work: Work,
        emit: Callable[[TrainEvent], None] = lambda event: None,
    ) -> tuple[Done, float]:
        """Do all of ``work``, from the adapter ``vector`` on or from its last checkpoint; what came out, and seconds
        of training over all runs. Raises UserError."""
        steps = schedule(self._task.training, examples, work)
        trainer = self._begin(vector, examples, steps, work, None, emit)
        done = finish(trainer, steps)
        assert done is not None  # nothing asks it to stop
        return done, trainer.position.seconds

    def advance(
        self,
        vector: NDArray[np.float32],
        examples: Sequence[Example],
        work: Work,
        until: int,
        emit: Callable[[TrainEvent], None] = lambda event: None,
    ) -> Stage:
        """Go on with ``work``, begun from ``vector``, up to step ``until``, and keep a checkpoint there: it goes on
        with the optimizer's state as if it had never stopped."""
        trainer = self._begin(vector, examples, schedule(self._task.training, examples, work), work, until, emit)
        trainer.run()
        at = trainer.position
        return Stage(self._place.adapter.read(), at.step, at.learned, at.loss, at.seconds)

    def _begin(
        self,
        vector: NDArray[np.float32],
        examples: Sequence[Example],
        steps: Schedule,
        work: Work,
        until: int | None,
        emit: Callable[[TrainEvent], None],
    ) -> Trainer:
        lengths = lengths_of(examples)
        turn = msgspec.structs.replace(self._task, strategy=work.strategy).turn(work.round)
        trainer, _ = self._place.begin(
            vector,
            turn,
            steps,
            self._task.training,
            planning=self._plan(lengths, turn, (self.base.quantization,)),
            longest=lengths.longest,
            seed=work.seed,
            budget=self._budget,
            folder=WorkFolder(str(checkpoint_folder(self._work, work)), work.key),
            emit=emit,
            stopping=lambda: until is not None and trainer.position.step >= until,
            checkpoint_seconds=self._checkpoint_seconds,
            proximal=work.proximal,
        )
        return trainer

    def evaluate(self, adapter: Path | None, records: Sequence[Record], max_length: int) -> Evaluation:
        """The loss of each record's answer under the base with the adapter in this file, or with none; records are cut
        to ``max_length`` tokens."""
        return self._server.evaluate(Evaluate(adapter=_text(adapter), records=tuple(records), max_length=max_length))

    def _plan(self, lengths: Lengths, turn: Turn | None, allowed: Sequence[Quantization]) -> Planning:
        work = make_work(self._folder, self._task, turn, self._device, lengths=lengths, base=self._base_bytes)
        return make_plan(work, self._budget.limit, allowed, self._task.training.batch_size)


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)
