"""Cross-entropy over a large vocabulary without ever holding the logits of more than a few tokens."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .footprint import CHUNK

Head = Callable[[Tensor], Tensor]


class _ChunkedCrossEntropy(torch.autograd.Function):
    """Sum over tokens of −log softmax(head(h))[label].

    The loss is a sum, so its gradient is known up to the factor that arrives in backward: forward computes it chunk by
    chunk while the logits are there, and keeps it (as large as the hidden states) instead of computing them again.
    """

    @staticmethod
    def forward(ctx: Any, head: Head, multiple: int, hidden: Tensor, labels: Tensor, *parameters: Tensor) -> Tensor:
        need = [*ctx.needs_input_grad[2:3], *ctx.needs_input_grad[4:]]
        gradient = torch.empty_like(hidden) if need[0] else None
        sums = [torch.zeros_like(p) for p in parameters]
        total = torch.zeros((), dtype=torch.float64, device=hidden.device)
        for start in range(0, len(labels), CHUNK):
            part = slice(start, start + CHUNK)
            with torch.enable_grad():
                chunk = _filled(hidden[part], multiple).requires_grad_(any(need))
                logits = head(chunk)
            loss, slope = _chunk(logits.detach(), labels[part], slope=any(need))
            total += loss.sum(dtype=torch.float64)
            if slope is not None:
                grads = torch.autograd.grad(logits, (chunk, *parameters), slope)
                if gradient is not None:
                    gradient[part] = grads[0][: len(loss)]
                for held, grad in zip(sums, grads[1:], strict=True):
                    held += grad
        ctx.save_for_backward(*([] if gradient is None else [gradient]), *sums)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        saved = [held * grads[0].to(held.dtype) for held in ctx.saved_tensors]
        hidden = saved.pop(0) if ctx.needs_input_grad[2] else None
        return None, None, hidden, None, *saved


_chunked: Callable[..., Tensor] = _ChunkedCrossEntropy.apply


def cross_entropy(
    head: Head, hidden: Tensor, labels: Tensor, parameters: Sequence[Tensor] = (), *, multiple: int = 1
) -> Tensor:
    """Sum of the cross-entropy of ``head(hidden)`` against ``labels``, in nats: a float64 scalar.

    ``hidden`` [tokens, width]; ``labels`` int64[tokens]; ``head`` maps [n, width] to logits [n, vocabulary], whatever
    else it does (soft capping, scaling); ``parameters``: those of the head that are trained; ``multiple``:
    the head is asked for numbers of rows that it divides, as it divides CHUNK. Needs memory for CHUNK rows of logits
    and one copy of ``hidden``.
    """
    return _chunked(head, multiple, hidden, labels, *parameters)


@torch.no_grad()
def token_losses(head: Head, hidden: Tensor, labels: Tensor, *, multiple: int = 1) -> Tensor:
    """The same for each token, float32[tokens], without a gradient."""
    parts = [
        _chunk(head(_filled(hidden[i : i + CHUNK], multiple)), labels[i : i + CHUNK], slope=False)[0]
        for i in range(0, len(labels), CHUNK)
    ]
    return torch.cat(parts) if parts else hidden.new_zeros(0, dtype=torch.float32)


def _chunk(logits: Tensor, labels: Tensor, *, slope: bool) -> tuple[Tensor, Tensor | None]:
    """Each label's loss in float32, and with ``slope`` its gradient by the logits: softmax minus one-hot, and zero for
    logits without a label, at the end."""
    log_probabilities = torch.log_softmax(logits[: len(labels)], dim=-1, dtype=torch.float32)
    places = labels.unsqueeze(1)
    loss = -log_probabilities.gather(1, places).squeeze(1)
    if not slope:
        return loss, None
    grad = log_probabilities.exp_()
    grad.scatter_add_(1, places, torch.full_like(places, -1, dtype=torch.float32))
    missing = len(logits) - len(labels)
    slopes = grad.to(logits.dtype)
    return loss, nn.functional.pad(slopes, (0, 0, 0, missing)) if missing else slopes


def _filled(hidden: Tensor, multiple: int) -> Tensor:
    """A copy of ``hidden``, with rows of zeros up to a ``multiple``."""
    return nn.functional.pad(hidden.detach(), (0, 0, 0, -len(hidden) % multiple))
