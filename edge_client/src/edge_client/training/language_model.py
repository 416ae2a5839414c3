"""A causal language model in two parts: up to its last hidden states, and from there to logits.

So logits are made for the tokens that need them only, a few at a time. Any architecture will do: the second part is
the model's own forward with the first part left out, so soft caps and scalings are in it; that the two parts make the
whole is checked once, when the model is loaded.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from edge_client.data.template import Example

from .loss import cross_entropy, token_losses
from .packing import enable_packing, packed
from .rope import Rope
from .shape import read_positions

Notify = Callable[[str], None]
_PROBE_LENGTH = 8
_ROW_MULTIPLE, _HEAD_MULTIPLE = 32, 16
"""On a CPU in bfloat16 oneDNN compiles kernels for each number of rows that it meets, 2 MB that are never let go: so
numbers of tokens are rounded up to these."""
_TOLERANCE = 0.02
"""Of the largest logit: bfloat16 keeps 8 bits, and matrix products of other shapes round otherwise."""


class LanguageModel:
    """``model`` as :meth:`hidden` and :meth:`head`. ``dtype``: of activations; ``longest``: tokens of the longest text
    that it will see, None: not known; ``packs``: whether records of differing lengths go through it in one row, without
    padding; ``row_multiple``: what a row's number of tokens is rounded up to."""

    def __init__(
        self, model: PreTrainedModel, dtype: torch.dtype, notify: Notify, *, longest: int | None = None
    ) -> None:
        self.model = model
        self.device = next(model.parameters()).device
        self.dtype = dtype
        self._decoder = model.get_decoder()
        self._output: type | None = None
        compiled = self.device.type == "cpu" and dtype != torch.float32
        self.row_multiple, self._head_multiple = (_ROW_MULTIPLE, _HEAD_MULTIPLE) if compiled else (1, 1)
        self._rope = Rope(model)
        self._positions = read_positions(model.config.to_dict())
        if not self._splits():
            self._output = None
            self._decoder = model
            notify("This architecture cannot be split before its logits: training needs more memory than planned.")
        with self.precision():
            self.packs = self._output is not None and enable_packing(model, self._decoder, longest)

    def precision(self) -> AbstractContextManager[None]:
        """Computes adapters, kept in float32, in the model's dtype."""
        return torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32)

    def hidden(self, input_ids: Tensor, **layout: Any) -> Tensor:
        """Last hidden states [batch, length, width] of ``input_ids`` int64[batch, length], padded at the right: a
        causal model needs no mask then, since no token sees one after it. ``layout``: the rest of
        :func:`.packing.packed`."""
        with self.precision():
            output = self._decoder(input_ids=input_ids, **layout, use_cache=False)
        states: Tensor = output.logits if self._decoder is self.model else output.last_hidden_state
        return states

    def head(self, hidden: Tensor) -> Tensor:
        """Logits [n, vocabulary] of ``hidden`` [n, width]."""
        if self._output is None:
            return hidden
        decoder, output = self._decoder, self._output(last_hidden_state=hidden.unsqueeze(0))
        own = decoder.__dict__.get("forward")
        decoder.forward = lambda *_, **__: output
        try:
            with self.precision():
                ids = torch.zeros(1, len(hidden), dtype=torch.long, device=hidden.device)
                logits: Tensor = self.model(input_ids=ids, use_cache=False).logits
                return logits.squeeze(0)
        finally:
            if own is None:
                del decoder.forward
            else:
                decoder.forward = own

    def loss(self, examples: Sequence[Example], trained: Sequence[Tensor]) -> Tensor:
        """Sum of the losses of the examples' learned tokens, in nats, float64. ``trained``: parameters of the head
        that are trained; others need not be named."""
        hidden, labels, _ = self._learned(examples)
        return cross_entropy(self.head, hidden, labels, trained, multiple=self._head_multiple)

    @torch.no_grad()
    def record_losses(self, examples: Sequence[Example]) -> list[float]:
        """Each example's sum of the losses of its learned tokens, in nats."""
        hidden, labels, owner = self._learned(examples)
        sums = torch.zeros(len(examples), dtype=torch.float64, device=self.device)
        sums.index_add_(0, owner, token_losses(self.head, hidden, labels, multiple=self._head_multiple).double())
        return [float(value) for value in sums]

    def _learned(self, examples: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
        """Hidden states that predict a learned token, that token, and the example that it belongs to."""
        reach = self._rope.reach
        if reach is not None and len(examples) > 1 and max(len(example.tokens) for example in examples) > reach:
            parts = [self._learned([example]) for example in examples]
            owner = torch.arange(len(examples)).repeat_interleave(torch.tensor([len(part[1]) for part in parts]))
            return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts]), owner.to(self.device)
        self._rope.reset()
        sizes = [len(example.tokens) for example in examples]
        if self.packs and sum(sizes) < len(sizes) * max(sizes):
            starts = [0, *accumulate(sizes[:-1])]
            rows = [list(example.tokens) for example in examples]
            if filling := -sum(sizes) % self.row_multiple:
                rows.append([0] * filling)  # by itself: the last record's positions may be the model's last
            hidden = self.hidden(**packed(rows, self.device))
        else:
            length = max(sizes) + -max(sizes) % self.row_multiple
            if self._positions is not None:
                length = min(length, max(max(sizes), self._positions))
            starts = [row * length for row in range(len(sizes))]
            tokens = torch.zeros(len(examples), length, dtype=torch.long)
            for row, example in enumerate(examples):
                tokens[row, : len(example.tokens)] = torch.tensor(example.tokens)
            hidden = self.hidden(tokens.to(self.device))
        before = [torch.arange(at + e.learned, at + len(e.tokens)) - 1 for at, e in zip(starts, examples, strict=True)]
        labels = [torch.tensor(example.tokens[example.learned :]) for example in examples]
        owner = torch.arange(len(examples)).repeat_interleave(torch.tensor([len(each) for each in labels]))
        states = hidden.flatten(0, 1)[torch.cat(before).to(self.device)]
        return states, torch.cat(labels).to(self.device), owner.to(self.device)

    @torch.no_grad()
    def _splits(self) -> bool:
        """Whether decoder and head, one after the other, give the model's logits."""
        if self._decoder is self.model:
            return False
        tokens = torch.arange(_PROBE_LENGTH, device=self.device).unsqueeze(0)
        training = self.model.training
        self.model.eval()
        try:
            with self.precision():
                whole = self.model(input_ids=tokens, use_cache=False).logits.squeeze(0)
                output = self._decoder(input_ids=tokens, use_cache=False)
            self._output = type(output)
            parts = self.head(output.last_hidden_state.squeeze(0))
        except (AttributeError, TypeError, ValueError, RuntimeError, KeyError, IndexError):
            return False
        finally:
            self.model.train(training)
        return parts.shape == whole.shape and bool((parts - whole).abs().max() <= _TOLERANCE * whole.abs().max())
