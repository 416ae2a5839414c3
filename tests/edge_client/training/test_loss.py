"""Chunks of the vocabulary's logits add up to the whole cross-entropy, and so do their gradients."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from edge_client.training.loss import CHUNK, cross_entropy, token_losses


def setting(tokens: int) -> tuple[torch.Tensor, torch.Tensor, nn.Linear]:
    torch.manual_seed(3)
    return torch.randn(tokens, 16, requires_grad=True), torch.randint(0, 50, (tokens,)), nn.Linear(16, 50)


@pytest.mark.parametrize("tokens", [1, CHUNK - 1, CHUNK, 3 * CHUNK + 5])
def test_loss_and_gradients_are_those_of_the_whole_logits(tokens: int) -> None:
    hidden, labels, head = setting(tokens)
    parameters = list(head.parameters())
    whole = functional.cross_entropy(head(hidden), labels, reduction="sum")
    expected = torch.autograd.grad(whole, (hidden, *parameters))
    loss = cross_entropy(head, hidden, labels, parameters)
    found = torch.autograd.grad(3 * loss, (hidden, *parameters))
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, 3 * other, rtol=1e-4, atol=1e-5)


def test_a_soft_cap_in_the_head_is_differentiated_too() -> None:
    hidden, labels, linear = setting(100)
    linear.requires_grad_(False)

    def head(states: torch.Tensor) -> torch.Tensor:
        return 2 * torch.tanh(linear(states) / 2)

    whole = functional.cross_entropy(head(hidden), labels, reduction="sum")
    (expected,) = torch.autograd.grad(whole, hidden)
    (found,) = torch.autograd.grad(cross_entropy(head, hidden, labels), hidden)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_no_more_than_a_chunk_of_logits_exists_at_a_time() -> None:
    hidden, labels, linear = setting(10 * CHUNK)
    rows: list[int] = []

    def head(states: torch.Tensor) -> torch.Tensor:
        rows.append(len(states))
        return linear(states)

    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        cross_entropy(head, hidden, labels, list(linear.parameters()))
    assert max(rows) == CHUNK
    assert max(kept) == hidden.numel()  # its gradient; all the logits would be three times as many


def test_losses_by_token_sum_to_the_loss() -> None:
    hidden, labels, head = setting(2 * CHUNK + 1)
    each = token_losses(head, hidden, labels)
    assert each.shape == labels.shape
    assert each.sum().item() == pytest.approx(cross_entropy(head, hidden, labels).item(), rel=1e-6)
    assert token_losses(head, hidden[:0], labels[:0]).shape == (0,)
