"""Training is AdamW on the mean loss over a batch's learned tokens, however it is cut, stopped or starved."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_model import Workshop, make_records, make_tokenizer
from transformers import AutoModelForCausalLM

from edge_client.data import Example, Record, Template
from edge_client.training.batches import Schedule
from edge_client.training.checkpointing import recompute
from edge_client.training.events import BackedOff, Checkpointed, Progress, TrainEvent
from edge_client.training.failures import ModelError, NoRoomError
from edge_client.training.footprint import Way
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import Base
from edge_client.training.local import Workplace
from edge_client.training.lora import Adapter
from edge_client.training.memory import Budget
from edge_client.training.planner import Planning
from edge_client.training.trainer import Plan, Trainer
from edge_client.training.work_folder import WorkFolder
from fedit_shared import adapter as wire
from fedit_shared.messages import TrainingSettings
from fedit_shared.strategies import turn_of


class Starved(LanguageModel):
    """A machine whose memory runs out, after part of the work is done, when a piece has more than ``most`` tokens."""

    most = 10**9
    cost_kept = 1

    def loss(self, examples: Sequence[Example], trained: Sequence[torch.Tensor]) -> torch.Tensor:
        loss = super().loss(examples, trained)
        cost = 1 if self.model.is_activation_checkpointing else self.cost_kept
        if cost * sum(len(example.tokens) for example in examples) > self.most:
            return Exhausted.apply(loss)  # type: ignore[no-any-return, no-untyped-call]
        return loss


class Exhausted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, loss: torch.Tensor) -> torch.Tensor:
        return loss.clone()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> torch.Tensor:
        raise torch.OutOfMemoryError("out of memory")


class Bench:
    """A trainer of the tiny model in float32, made anew as a new process would."""

    def __init__(
        self, workshop: Workshop, *, count: int = 11, work: str = "work", plan: Plan | None = None, **settings: Any
    ) -> None:
        self.settings = workshop.task(**{"steps": 4, "batch_size": 5} | settings).training
        data = (workshop.adapter / wire.FILE_NAME).read_bytes()
        manifest, vector = wire.read_adapter(data)
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_pretrained(workshop.model, dtype=torch.float32)
        config = (workshop.adapter / wire.CONFIG_NAME).read_text()
        self.adapter = Adapter(model, config, manifest)
        self.adapter.write(vector)
        model.train()
        self.model = Starved(model, torch.float32, lambda _: None)
        template = Template(make_tokenizer())
        made = [template.example(Record(**record), place, 200) for place, record in enumerate(make_records(count))]
        self.examples = [example for example in made if example is not None]
        assert len(self.examples) == count
        records = None if self.settings.steps is None else self.settings.steps * self.settings.batch_size
        self.schedule = Schedule(self.examples, self.settings.batch_size, records, seed=3)
        self.folder = WorkFolder(str(workshop.folder / work), bytes(32))
        self.events: list[TrainEvent] = []
        self.plan = plan or Plan(Way("none", 2, 0))
        self.budget = Budget(torch.device("cpu"), 2**40)

    def trainer(
        self, stopping: Callable[[], bool] = lambda: False, checkpoint_seconds: float = 1e9, proximal: float = 0.0
    ) -> Trainer:
        recompute(self.model.model, self.plan.way.recomputed)
        return Trainer(
            self.model,
            self.adapter.parameters,
            self.schedule,
            self.settings,
            plan=self.plan,
            longest=max(len(example.tokens) for example in self.examples),
            seed=3,
            budget=self.budget,
            folder=self.folder,
            emit=self.events.append,
            stopping=stopping,
            checkpoint_seconds=checkpoint_seconds,
            proximal=proximal,
        )

    def train(self) -> NDArray[np.float32]:
        delta = self.trainer().run()
        assert delta is not None
        return delta


@pytest.fixture
def undisturbed(workshop: Workshop) -> NDArray[np.float32]:
    return Bench(workshop, work="undisturbed").train()


def plain_training(bench: Bench, proximal: float = 0.0) -> NDArray[np.float32]:
    """The same training as a textbook has it: whole logits, one batch at a time, padded and masked."""
    model, parameters = bench.model.model, bench.adapter.parameters
    start = torch.cat([p.detach().reshape(-1) for p in parameters]).clone()
    settings: TrainingSettings = bench.settings
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    for step in range(settings.steps or 0):
        batch = bench.schedule.step(step)
        length = max(len(e.tokens) for e in batch)
        tokens = torch.zeros(len(batch), length, dtype=torch.long)
        labels = torch.full_like(tokens, -100)
        mask = torch.zeros_like(tokens)
        for row, e in enumerate(batch):
            tokens[row, : len(e.tokens)] = torch.tensor(e.tokens)
            labels[row, e.learned : len(e.tokens)] = tokens[row, e.learned : len(e.tokens)]
            mask[row, : len(e.tokens)] = 1
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * min(1, (step + 1) / (settings.warmup_steps + 1))
        optimizer.zero_grad()
        moved = torch.cat([p.reshape(-1) for p in parameters]) - start
        (model(input_ids=tokens, attention_mask=mask, labels=labels).loss + proximal / 2 * moved @ moved).backward()
        torch.nn.utils.clip_grad_norm_(parameters, settings.max_grad_norm)
        optimizer.step()
    return (torch.cat([p.detach().reshape(-1) for p in parameters]) - start).numpy()


@pytest.mark.parametrize(
    "settings", [{}, {"weight_decay": 0.1, "max_grad_norm": 0.05}, {"warmup_steps": 2, "batch_size": 13, "steps": 3}]
)
def test_the_result_is_that_of_textbook_training(workshop: Workshop, settings: dict[str, Any]) -> None:
    expected = plain_training(Bench(workshop, **settings))
    found = Bench(workshop, **settings).train()
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(found, expected, atol=0.01 * float(np.abs(expected).max()))


def test_fedprox_adds_the_gradient_of_half_mu_times_the_squared_distance(workshop: Workshop) -> None:
    expected, free = plain_training(Bench(workshop), 3.0), plain_training(Bench(workshop))
    found = Bench(workshop).trainer(proximal=3.0).run()
    assert found is not None
    assert np.linalg.norm(expected) < 0.95 * np.linalg.norm(free)
    np.testing.assert_allclose(found, expected, atol=0.01 * float(np.abs(expected).max()))


@pytest.mark.parametrize("way", [Way("none", 1, 0), Way("none", 5, 0), Way("none", 2, 2), Way("none", 2, 1)])
def test_neither_pieces_nor_checkpointing_change_the_mathematics(
    workshop: Workshop, undisturbed: NDArray[np.float32], way: Way
) -> None:
    bench = Bench(workshop)
    bench.plan = Plan(way)
    np.testing.assert_allclose(bench.train(), undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def test_the_same_seed_gives_the_same_bits(workshop: Workshop, undisturbed: NDArray[np.float32]) -> None:
    assert Bench(workshop).train().tobytes() == undisturbed.tobytes()


@pytest.mark.parametrize("bits", [32, 8])
def test_stopped_at_every_piece_and_gone_on_it_ends_with_the_same_bits(workshop: Workshop, bits: int) -> None:
    plan = Plan(Way("none", 2, 0, bits))
    undisturbed = Bench(workshop, work="undisturbed", plan=plan).train()
    delta = None
    starts = 0
    while delta is None:
        bench = Bench(workshop, plan=plan)
        asked = iter([False, True])
        trainer = bench.trainer(stopping=lambda asked=asked: next(asked, True))  # type: ignore[misc]
        assert trainer.resume() == (starts > 0)
        delta = trainer.run()
        assert delta is not None or isinstance(bench.events[-1], Checkpointed)
        starts += 1
    assert starts > bench.settings.steps  # more than one stop a step: also amid them
    assert delta.tobytes() == undisturbed.tobytes()
    assert trainer.position.learned == sum(
        len(e.tokens) - e.learned for step in range(4) for e in bench.schedule.step(step)
    )


def test_memory_that_runs_out_halves_the_pieces_and_loses_or_repeats_nothing(
    workshop: Workshop, undisturbed: NDArray[np.float32]
) -> None:
    bench = Bench(workshop)
    bench.plan = Plan(Way("none", 4, 0))
    longest = max(len(e.tokens) for e in bench.examples)
    bench.model.most = longest + 5
    delta = bench.train()
    backed_off = [event.micro_batch for event in bench.events if isinstance(event, BackedOff)]
    assert backed_off == [2, 1]
    np.testing.assert_allclose(delta, undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def test_memory_that_runs_out_first_ends_the_keeping_of_what_is_freed(
    workshop: Workshop, undisturbed: NDArray[np.float32]
) -> None:
    bench = Bench(workshop, plan=Plan(Way("none", 2, 0, pooled=True)))
    longest = max(len(e.tokens) for e in bench.examples)
    bench.model.most = longest + 5
    delta = bench.train()
    assert [event.micro_batch for event in bench.events if isinstance(event, BackedOff)] == [2, 1]
    assert bench.plan.way == Way("none", 1, 0, starved=True)
    np.testing.assert_allclose(delta, undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def refuse_memory() -> None:
    torch.empty(2**60, dtype=torch.uint8)  # torch's own allocator says no


def fail_in(phase: str, bench: Bench, monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Let memory run out in the given ``calls`` (from 1) of one phase of the work."""
    count = 0

    def counted(*_: object) -> None:
        nonlocal count
        count += 1
        if count in calls:
            refuse_memory()

    def before(work: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any, **options: Any) -> Any:
            counted()
            return work(*args, **options)

        return wrapped

    last = bench.model.model.model.layers[1]
    if phase == "forward":
        last.register_forward_pre_hook(counted)
    elif phase == "backward":
        last.register_full_backward_hook(counted)
    elif phase == "clipping":
        monkeypatch.setattr(torch.linalg, "vector_norm", before(torch.linalg.vector_norm))
    else:
        monkeypatch.setattr(torch, "_fused_adamw_", before(torch._fused_adamw_))


@pytest.mark.parametrize("phase", ["forward", "backward", "clipping", "optimizer"])
def test_memory_that_runs_out_anywhere_halves_the_pieces_and_the_work_is_the_same(
    workshop: Workshop, undisturbed: NDArray[np.float32], phase: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = Bench(workshop)
    bench.plan = Plan(Way("none", 4, 0))
    fail_in(phase, bench, monkeypatch, {2, 4})
    trainer = bench.trainer()
    delta = trainer.run()
    assert delta is not None
    assert [event.micro_batch for event in bench.events if isinstance(event, BackedOff)] == [2, 1]
    assert [event.step for event in bench.events if isinstance(event, Progress)] == [1, 2, 3, 4]
    steps = [bench.schedule.step(number) for number in range(4)]
    assert trainer.position.learned == sum(len(e.tokens) - e.learned for step in steps for e in step)
    np.testing.assert_allclose(delta, undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def test_packed_and_padded_records_give_the_same_delta(workshop: Workshop, undisturbed: NDArray[np.float32]) -> None:
    bench = Bench(workshop)
    assert bench.model.packs
    bench.model.packs = False
    np.testing.assert_allclose(bench.train(), undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def test_what_filled_the_memory_is_let_go_before_the_next_try(workshop: Workshop) -> None:
    bench = Bench(workshop)
    bench.model.most = max(len(e.tokens) for e in bench.examples) + 5
    alive: list[int] = []

    def kept() -> set[int]:
        return {id(o) for o in gc.get_objects() if type(o) is torch.Tensor and o.grad_fn is not None}

    class Watching(Budget):
        def tighten(self) -> None:
            super().tighten()
            alive.append(len(kept() - before))

    before = kept()  # another test's may still be about

    bench.budget = Watching(torch.device("cpu"), 2**40)
    bench.train()
    assert alive
    assert set(alive) == {0}


def test_the_last_resort_is_to_compute_activations_again(workshop: Workshop, undisturbed: NDArray[np.float32]) -> None:
    bench = Bench(workshop)
    bench.model.most, bench.model.cost_kept = max(len(e.tokens) for e in bench.examples), 4
    delta = bench.train()
    assert bench.plan.way == Way("none", 1, 2, starved=True)
    np.testing.assert_allclose(delta, undisturbed, atol=1e-3 * float(np.abs(undisturbed).max()))


def test_a_model_that_cannot_compute_activations_again_ends_there(workshop: Workshop) -> None:
    bench = Bench(workshop)
    bench.model.model.supports_gradient_checkpointing = False
    bench.model.most = 1
    with pytest.raises(NoRoomError):
        bench.train()
    assert {event.micro_batch for event in bench.events if isinstance(event, BackedOff)} == {1}


def test_one_record_that_does_not_fit_is_told_with_advice(workshop: Workshop) -> None:
    bench = Bench(workshop)
    bench.model.most = 10
    with pytest.raises(NoRoomError, match="One record of") as caught:
        bench.train()
    assert "memory" in caught.value.advice


def test_progress_is_told_after_each_step(workshop: Workshop) -> None:
    bench = Bench(workshop)
    bench.train()
    steps = [event for event in bench.events if isinstance(event, Progress)]
    assert [(event.step, event.steps) for event in steps] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert steps[-1].seconds_left == 0
    assert steps[-1].loss < steps[0].loss
    assert all(event.tokens_per_second > 0 and event.memory_bytes > 0 for event in steps)


def test_minutes_end_the_work_but_one_step_is_always_done(workshop: Workshop) -> None:
    bench = Bench(workshop, steps=None, minutes=1e-9)
    trainer = bench.trainer()
    assert trainer.run() is not None
    assert trainer.position.step == 1


def test_a_gradient_that_is_not_finite_is_an_error_not_a_delta(workshop: Workshop) -> None:
    bench = Bench(workshop)
    bench.model.model.model.norm.weight.data.fill_(float("inf"))
    with pytest.raises(ModelError, match="not finite"):
        bench.train()


@pytest.mark.parametrize("starved", [False, True])
def test_work_that_ran_out_of_memory_before_an_interruption_goes_on_sparing_it(
    workshop: Workshop, starved: bool
) -> None:
    class Watching(Budget):
        tightened = 0

        def tighten(self) -> None:
            self.tightened += 1

    bench = Bench(workshop)
    model = AutoModelForCausalLM.from_pretrained(workshop.model, dtype=torch.float32)
    base = Base(model, make_tokenizer(), torch.device("cpu"), torch.float32, "none", "torch")
    budget = Watching(torch.device("cpu"), 2**40)
    task = workshop.task(steps=4, batch_size=5)
    turn = turn_of("fedavg", [(tensor.name, tensor.size) for tensor in task.tensors], 1)
    Workplace(base, task, lambda _: None).begin(
        np.zeros(sum(p.numel() for p in bench.adapter.parameters), np.float32),
        turn,
        bench.schedule,
        bench.settings,
        planning=Planning(Way("none", 2, 0, starved=starved), (), 0, "", None, None),
        longest=100,
        seed=3,
        budget=budget,
        folder=bench.folder,
        checkpoint_seconds=1e9,
    )
    assert budget.tightened == starved


def test_a_damaged_or_foreign_checkpoint_is_not_gone_on_from(workshop: Workshop, tmp_path: Path) -> None:
    bench = Bench(workshop)
    asked = iter([False, False, True])
    bench.trainer(stopping=lambda: next(asked)).run()
    path = tmp_path / "work" / "checkpoint.safetensors"
    whole = path.read_bytes()
    size = sum(p.numel() for p in bench.adapter.parameters)
    assert bench.folder.checkpoint(size) is not None
    assert bench.folder.checkpoint(size + 1) is None
    assert WorkFolder(str(tmp_path / "work"), b"\1" * 32).checkpoint(size) is None
    for cut in (0, 7, 100, len(whole) - 1):
        path.write_bytes(whole[:cut])
        assert bench.folder.checkpoint(size) is None
