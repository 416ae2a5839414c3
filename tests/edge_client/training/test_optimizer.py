"""Both optimizers are AdamW, and go on from what they have saved to the bit."""

from typing import Any

import bitsandbytes
import pytest
import torch
from torch import Tensor

from edge_client.training import optimizer as module
from edge_client.training.footprint import Way, Work, make_adapter, optimizer_state
from edge_client.training.optimizer import make_optimizer
from edge_client.training.shape import read_shape

SIZE = 2 * 1024 * 256 + 300
"""More than two parts, and no whole number of blocks."""
RATE, DECAY = 0.01, 0.1


def gradients(count: int) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    scales = 10.0 ** (torch.arange(SIZE) // 1000).remainder(5)
    made = [torch.randn(SIZE, generator=generator) * scales for _ in range(count)]
    made[0][:1000] = 0  # as the gradient of every A is in the first step, since B is zero
    return made


def start() -> Tensor:
    return torch.randn(SIZE, generator=torch.Generator().manual_seed(2))


def trained(bits: int, steps: int) -> Tensor:
    flat = start()
    optimizer = make_optimizer(flat, bits, DECAY)
    for number, gradient in enumerate(gradients(steps)):
        optimizer.step(gradient, number, RATE)
    return flat


def reference(optimizer: Any, parameter: torch.nn.Parameter, steps: int) -> Tensor:
    for gradient in gradients(steps):
        parameter.grad = gradient
        optimizer.step()
    return parameter.detach()


def test_in_full_it_is_the_adamw_of_torch() -> None:
    parameter = torch.nn.Parameter(start())
    expected = reference(torch.optim.AdamW([parameter], lr=RATE, weight_decay=DECAY), parameter, 5)
    assert torch.allclose(trained(32, 5), expected, atol=1e-6)


def test_in_bytes_it_is_the_adamw_of_bitsandbytes_to_the_bit() -> None:
    parameter = torch.nn.Parameter(start())
    theirs = bitsandbytes.optim.AdamW8bit([parameter], lr=RATE, weight_decay=DECAY)
    assert torch.equal(trained(8, 5), reference(theirs, parameter, 5))


def test_a_byte_each_moves_nearly_as_the_full_state_does() -> None:
    moved, full = trained(8, 5) - start(), trained(32, 5) - start()
    assert torch.isfinite(moved).all()
    assert not torch.equal(moved, full)
    assert (moved - full).norm() < 0.25 * full.norm()


@pytest.mark.parametrize("bits", [32, 8])
def test_saved_and_loaded_it_goes_on_with_the_same_bits(bits: int) -> None:
    flat = start()
    first = make_optimizer(flat, bits, DECAY)
    steps = gradients(4)
    for number in (0, 1):
        first.step(steps[number], number, RATE)
    second = make_optimizer(flat, bits, DECAY)
    second.load({name: each.copy() for name, each in first.state().items()})
    for number in (2, 3):
        second.step(steps[number], number, RATE)
    assert torch.equal(flat, trained(bits, 4))


@pytest.mark.parametrize(("before", "after"), [(32, 8), (8, 32)])
def test_what_was_begun_with_other_bits_is_gone_on_with(before: int, after: int) -> None:
    flat = start()
    first, second = make_optimizer(flat, before, DECAY), make_optimizer(flat, after, DECAY)
    steps = gradients(4)
    for number in (0, 1):
        first.step(steps[number], number, RATE)
    second.load(first.state())
    for number in (2, 3):
        second.step(steps[number], number, RATE)
    expected = trained(32, 4) - start()
    assert (flat - start() - expected).norm() < 0.2 * expected.norm()


@pytest.mark.parametrize("failing", range(1, 4))
@pytest.mark.parametrize("late", [False, True])
def test_a_step_in_bytes_that_lacked_memory_goes_on_where_it_stopped(
    failing: int, late: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = module.functional.optimizer_update_8bit_blockwise
    calls = 0

    def starved(*args: Any, **options: Any) -> None:
        nonlocal calls
        calls += 1
        if late or calls != failing:
            update(*args, **options)
        if calls == failing:
            raise torch.OutOfMemoryError("out of memory")

    flat = start()
    optimizer = make_optimizer(flat, 8, DECAY)
    monkeypatch.setattr(module.functional, "optimizer_update_8bit_blockwise", starved)
    for number, gradient in enumerate(gradients(2)):
        try:
            optimizer.step(gradient, number, RATE)
        except torch.OutOfMemoryError:
            optimizer.step(gradient, number, RATE)
    assert calls == 7  # of three parts in two steps one was tried twice
    assert torch.equal(flat, trained(8, 2))


@pytest.mark.parametrize("bits", [32, 8])
def test_the_planner_knows_how_large_the_state_is(bits: int) -> None:
    shape = read_shape(
        {"model_type": "llama", "hidden_size": 512, "num_hidden_layers": 4, "num_attention_heads": 8, "vocab_size": 9}
    )
    adapter = make_adapter(shape, 64, ("q_proj", "down_proj"))
    state = make_optimizer(torch.zeros(adapter.parameters), bits, 0.0).state()
    planned = optimizer_state(Work(shape, adapter, False, 4, 16, 0), Way("int8", 1, 0, bits))
    assert planned == sum(each.nbytes for each in state.values())
