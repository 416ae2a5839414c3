"""What a strategy lets rest is not trained, not decayed and has no optimizer state; what it keeps is in no delta."""

import asyncio
import signal
from collections.abc import Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from children import training_children
from numpy.typing import NDArray
from tiny_model import Workshop, make_records, make_tokenizer
from transformers import AutoModelForCausalLM

from edge_client.data import Example, Record, Template
from edge_client.training import Failed, Finished, Progress, TrainEvent, TrainJob, read_delta, run_training
from edge_client.training.batches import Schedule
from edge_client.training.footprint import Way
from edge_client.training.loading import Base
from edge_client.training.local import Done, Workplace, finish
from edge_client.training.memory import Budget
from edge_client.training.planner import Planning
from edge_client.training.work_folder import WorkFolder
from fedit_shared import adapter as wire
from fedit_shared.messages import TaskSpec, TrainingSettings
from fedit_shared.strategies import Role

ROUNDS = [("fedavg", 1), ("ffa-lora", 1), ("rolora", 1), ("rolora", 2), ("shared-a", 1)]
SETTINGS = {"steps": 4, "batch_size": 5, "weight_decay": 0.1}


def started(workshop: Workshop) -> NDArray[np.float32]:
    """An adapter whose B is not zero, as after some rounds."""
    _, vector = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    drawn = np.random.default_rng(1).normal(0, 0.05, vector.size)
    return (vector + drawn).astype(np.float32)


class Bench:
    """The tiny model in float32, and what its clients do with it."""

    def __init__(self, workshop: Workshop) -> None:
        self.task = workshop.task(**SETTINGS)
        self.start = started(workshop)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(workshop.model, dtype=torch.float32)
        tokenizer = make_tokenizer()
        base = Base(model, tokenizer, torch.device("cpu"), torch.float32, "none", "torch")
        self.place = Workplace(base, self.task, lambda _: None)
        template = Template(tokenizer)
        made = [template.example(Record(**record), place, 200) for place, record in enumerate(make_records(11))]
        self.examples: list[Example] = [example for example in made if example is not None]
        self.schedule = Schedule(self.examples, 5, 20, seed=3)
        self.work = str(workshop.folder / "bench")
        self.number = 0

    def train(self, strategy: str, number: int, proximal: float = 0.0) -> Done:
        turn = msgspec.structs.replace(self.task, strategy=strategy).turn(number)
        self.number += 1
        trainer, _ = self.place.begin(
            self.start,
            turn,
            self.schedule,
            self.task.training,
            planning=Planning(Way("none", 2, 0), (), 0, "", None, None),
            longest=max(len(example.tokens) for example in self.examples),
            seed=3,
            budget=Budget(torch.device("cpu"), 2**40),
            folder=WorkFolder(self.work, bytes([self.number] * 32)),
            checkpoint_seconds=1e9,
            proximal=proximal,
        )
        self.trainer = trainer
        done = finish(trainer, self.schedule)
        assert done is not None
        return done


def plain_training(bench: Bench, strategy: str, number: int, proximal: float = 0.0) -> NDArray[np.float32]:
    """The adapter after a textbook's training in which just the resting parameters are frozen."""
    turn = msgspec.structs.replace(bench.task, strategy=strategy).turn(number)
    model, parameters = bench.place.base.model, bench.place.adapter.parameters
    bench.place.adapter.write(bench.start)
    model.train()
    for parameter, role in zip(parameters, turn.roles, strict=True):
        parameter.requires_grad_(role is not Role.REST)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    summed = turn.pick(parameters)
    before = [parameter.detach().clone() for parameter in summed]
    settings: TrainingSettings = bench.task.training
    optimizer = torch.optim.AdamW(trained, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step in range(4):
        batch = bench.schedule.step(step)
        optimizer.zero_grad()
        learned = sum(len(e.tokens) - e.learned for e in batch)
        for e in batch:
            tokens = torch.tensor([e.tokens])
            logits = model(input_ids=tokens).logits[0, e.learned - 1 : -1]
            (torch.nn.functional.cross_entropy(logits, tokens[0, e.learned :], reduction="sum") / learned).backward()
        for parameter, old in zip(summed, before, strict=True):
            parameter.grad += proximal * (parameter.detach() - old)
        torch.nn.utils.clip_grad_norm_(trained, settings.max_grad_norm)
        optimizer.step()
    for parameter in parameters:
        parameter.grad = None
    return bench.place.adapter.read()


@pytest.mark.parametrize("proximal", [0.0, 3.0])
@pytest.mark.parametrize(("strategy", "number"), ROUNDS)
def test_the_result_is_that_of_textbook_training_with_just_the_resting_tensors_frozen(
    workshop: Workshop, strategy: str, number: int, proximal: float
) -> None:
    bench = Bench(workshop)
    bench.train("fedavg" if strategy != "fedavg" else "ffa-lora", 1)  # the model has served another strategy before
    done = bench.train(strategy, number, proximal)
    after = bench.place.adapter.read()
    expected = plain_training(bench, strategy, number, proximal)
    turn = msgspec.structs.replace(bench.task, strategy=strategy).turn(number)
    np.testing.assert_array_equal(done.delta, turn.take(after) - turn.take(bench.start))
    np.testing.assert_array_equal(done.private, turn.take(after, Role.KEEP))
    np.testing.assert_array_equal(turn.take(after, Role.REST), turn.take(bench.start, Role.REST))
    moved = np.abs(expected - bench.start)
    assert moved.max() > 0.01
    np.testing.assert_allclose(after, expected, atol=0.01 * float(moved.max()))


@pytest.mark.parametrize(("strategy", "number"), ROUNDS)
def test_what_rests_has_no_gradient_and_no_optimizer_state(workshop: Workshop, strategy: str, number: int) -> None:
    bench = Bench(workshop)
    bench.train(strategy, number)
    turn = msgspec.structs.replace(bench.task, strategy=strategy).turn(number)
    for parameter, role in zip(bench.place.adapter.parameters, turn.roles, strict=True):
        assert parameter.requires_grad is (role is not Role.REST)
        assert parameter.grad is None
    trained = sum(size for size, role in zip(turn.sizes, turn.roles, strict=True) if role is not Role.REST)
    trainer = bench.trainer
    assert {vector.size for vector in trainer._optimizer.state().values()} == {trained}
    assert trainer._gradient.numel() == trainer._flat.numel() == trained


def run(job: TrainJob, leave: Callable[[TrainEvent], None] = lambda _: None) -> TrainEvent:
    async def main() -> TrainEvent:
        last: Any = None
        async with aclosing(run_training(job)) as stream:
            async for last in stream:
                leave(last)
        return last  # type: ignore[no-any-return]

    return asyncio.run(main())


def task_of(workshop: Workshop, strategy: str) -> TaskSpec:
    return msgspec.structs.replace(workshop.task(steps=6, batch_size=5), strategy=strategy)


def finished(job: TrainJob, **options: Any) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The delta and the private values that a child gives."""
    last = run(job, **options)
    assert isinstance(last, Finished), last
    turn = job.task.turn(job.round)
    delta = read_delta(last.delta_path, turn.dimension)
    if last.private_path is None:
        return delta, np.empty(0, np.float32)
    return delta, read_delta(last.private_path, sum(turn.pick(turn.sizes, Role.KEEP)))


def test_a_child_gives_a_delta_of_what_is_summed_alone(workshop: Workshop) -> None:
    task = task_of(workshop, "ffa-lora")
    delta, private = finished(workshop.job(task=task))
    assert delta.size == task.turn(1).dimension < wire.size(task.tensors)
    assert delta.any()
    assert not private.size


def test_a_child_that_is_killed_goes_on_with_the_same_private_values(workshop: Workshop, tmp_path: Path) -> None:
    task = task_of(workshop, "shared-a")
    start = np.random.default_rng(2).normal(0, 0.05, sum(task.turn(1).pick(task.turn(1).sizes, Role.KEEP)))
    own = tmp_path / "own"
    start.astype("<f4").tofile(own)
    quiet = finished(workshop.job(task=task, private=str(own), work=str(workshop.folder / "quiet")))
    assert np.abs(quiet[1] - start).max() > 0.001
    job = workshop.job(task=task, private=str(own), checkpoint_seconds=0.0)

    def kill(event: TrainEvent) -> None:
        if isinstance(event, Progress) and event.step == 3:
            (child,) = training_children()
            child.send_signal(signal.SIGKILL)

    assert isinstance(run(job, kill), Failed)
    ended = finished(job)
    assert [part.tobytes() for part in ended] == [part.tobytes() for part in quiet]
    again = finished(job)
    assert [part.tobytes() for part in again] == [part.tobytes() for part in quiet]
    other = finished(msgspec.structs.replace(job, private=None))
    assert other[1].tobytes() != quiet[1].tobytes(), "another start is another job"


@pytest.mark.parametrize(("size", "value"), [(None, 0.0), (3, 0.0), (0, np.nan)])
def test_private_values_that_cannot_be_used_are_told_in_a_line(
    workshop: Workshop, tmp_path: Path, size: int | None, value: float
) -> None:
    own, task = tmp_path / "own", task_of(workshop, "shared-a")
    if size is not None:
        np.full(size or sum(task.turn(1).pick(task.turn(1).sizes, Role.KEEP)), value, "<f4").tofile(own)
    last = run(workshop.job(task=task, private=str(own)))
    assert isinstance(last, Failed)
    assert (last.code, "own" in last.message) == ("adapter", True)
