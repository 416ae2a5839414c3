"""Local work on a loaded model: the training child does one job of it, a simulation one client's after another."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from edge_client.data import Example, Record, Template
from edge_client.data.template import Tokenizer, UnshownError, cut
from fedit_shared.errors import UserError
from fedit_shared.messages import TaskSpec, TrainingSettings
from fedit_shared.strategies import Role, Turn

from .batches import Schedule
from .checkpointing import recompute
from .events import TrainEvent
from .footprint import Way, Work, task_adapter
from .language_model import LanguageModel
from .loading import Base, compute_dtype
from .lora import Adapter
from .memory import Budget
from .model_files import read_config
from .planner import Planning
from .shape import read_positions, read_shape
from .trainer import Plan, Trainer
from .work_folder import WorkFolder

Notify = Callable[[str], None]


@dataclass(frozen=True)
class Done:
    """Local work that has ended. ``delta``: float32, of the tensors that the round sums, in the manifest's order;
    ``private``: float32, the values of those that stay on the device; ``examples``: distinct records seen; ``tokens``:
    those learned; ``loss``: mean over them while they were learned, in nats."""

    delta: NDArray[np.float32]
    private: NDArray[np.float32]
    examples: int
    tokens: int
    loss: float
    steps: int


class Workplace:
    """``base`` with the task's adapter on it. It serves one job at a time; each begins from the vector it is given.
    ``longest``: tokens of the longest record of any job, by default what the task cuts them to."""

    def __init__(self, base: Base, task: TaskSpec, notify: Notify, longest: int | None = None) -> None:
        self.base = base
        self.adapter = Adapter(base.model, task.adapter_config, task.tensors)
        self._language_model = LanguageModel(
            base.model, base.dtype, notify, longest=longest or task.training.max_length
        )

    def begin(
        self,
        vector: NDArray[np.float32],
        turn: Turn,
        schedule: Schedule,
        settings: TrainingSettings,
        *,
        planning: Planning,
        longest: int,
        seed: int,
        budget: Budget,
        folder: WorkFolder,
        emit: Callable[[TrainEvent], None] = lambda event: None,
        stopping: Callable[[], bool] = lambda: False,
        checkpoint_seconds: float,
        proximal: float = 0.0,
    ) -> tuple[Trainer, Way]:
        """A trainer of what ``turn`` trains, at the folder's checkpoint, else at the start, ``vector``; and the way it
        is done on this model, which may not know how to compute single layers again."""
        self.adapter.write(vector)
        for parameter, role in zip(self.adapter.parameters, turn.roles, strict=True):
            parameter.requires_grad_(role is not Role.REST)
        model = self.base.model.train()
        way = replace(planning.way, recomputed=recompute(model, planning.way.recomputed))
        trainer = Trainer(
            self._language_model,
            turn.pick(self.adapter.parameters),
            schedule,
            settings,
            private=turn.pick(self.adapter.parameters, Role.KEEP),
            plan=Plan(way, planning.peak),
            longest=longest,
            seed=seed,
            budget=budget,
            folder=folder,
            emit=emit,
            stopping=stopping,
            checkpoint_seconds=checkpoint_seconds,
            proximal=proximal,
        )
        budget.pool(way.pooled)
        if way.starved:  # when it was begun, before an interruption
            budget.tighten()
        trainer.resume()
        return trainer, way


def finish(trainer: Trainer, schedule: Schedule) -> Done | None:
    """Train to the end; None: asked to stop, and everything is saved. Raises as :meth:`Trainer.run` does."""
    delta = trainer.run()
    if delta is None:
        return None
    at = trainer.position
    return Done(delta, trainer.private, schedule.seen(at.step), at.learned, at.loss / at.learned, at.step)


class Lengths(NamedTuple):
    """Tokens of the longest record; ``uneven``: whether others are shorter."""

    longest: int
    uneven: bool


def make_work(
    model_folder: Path, task: TaskSpec, turn: Turn | None, device: torch.device, *, lengths: Lengths, base: int
) -> Work:
    """What the planner prices: what ``turn`` trains, by default the whole adapter, on records of these ``lengths``,
    with ``base`` bytes in use before the model is loaded."""
    return Work(
        shape=read_shape(read_config(model_folder)),
        adapter=task_adapter(task.tensors, turn),
        cuda=device.type == "cuda",
        width=compute_dtype(device).itemsize,
        length=lengths.longest,
        base=base,
        uneven=lengths.uneven,
    )


def cut_length(model_folder: Path, settings: TrainingSettings) -> int:
    """Tokens that a record is cut to: as the settings say, or as many as the model has positions for."""
    positions = read_positions(read_config(model_folder))
    return settings.max_length if positions is None else min(settings.max_length, positions)


def make_examples(
    records: Sequence[Record],
    tokenizer: Tokenizer,
    model_folder: Path,
    settings: TrainingSettings,
    notify: Notify,
    *,
    refuse: bool,
) -> list[Example]:
    """The records as tokens, less those with nothing to learn. ``refuse``: raise UserError for a record that the
    model's template cannot show, which else is left out. Raises UserError if none is left."""
    template = Template(tokenizer)
    length = cut_length(model_folder, settings)
    beyond = 0

    def shown(record: Record, place: int) -> Example | None:
        nonlocal beyond
        try:
            prompt, answer = template.parts(record)
        except UnshownError:
            if refuse:
                raise
            return None
        beyond += len(prompt) + len(answer) > length
        return cut(prompt, answer, place, length, train_on_inputs=settings.train_on_inputs)

    made = [shown(record, place) for place, record in enumerate(records)]
    examples = [example for example in made if example is not None]
    if beyond and length < settings.max_length:
        notify(f"{beyond} of {len(made)} records are longer than the model's {length} positions, and cut to them.")
    if len(examples) < len(made):
        lost = next(record.line for record, example in zip(records, made, strict=True) if example is None)
        notify(
            f"{len(made) - len(examples)} of {len(made)} records are left out: cut to {length} tokens, "
            f"they have nothing left to learn, or the model's template cannot show them (first: line {lost})."
        )
    if not examples:
        raise UserError(
            f"No record has an answer within {length} tokens.",
            advice="Use records with shorter instructions.",
        )
    return examples


def lengths_of(examples: Sequence[Example]) -> Lengths:
    """Of at least one example."""
    lengths = {len(example.tokens) for example in examples}
    return Lengths(max(lengths), len(lengths) > 1)


def amount(settings: TrainingSettings, records: int) -> int | None:
    """Records to train on in all, repetitions counted, by one who has so many; None: until the time is up."""
    if settings.minutes is not None:
        return None
    if settings.steps is not None:
        return settings.steps * settings.batch_size
    assert settings.epochs is not None
    return max(1, round(settings.epochs * records))
