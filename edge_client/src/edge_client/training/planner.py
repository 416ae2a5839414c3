"""How the task is done within the budget: how many records at one time, and whether activations are kept.

A first estimate from the model's config; what it gets wrong, the back-off sets right while training.
"""

from typing import Any

import torch
from transformers import PreTrainedModel

from .memory import Budget
from .trainer import Plan

_CPU_TOKENS = 512
_CUDA_TOKENS = 8192
"""Tokens in a micro-batch beyond which it gets no faster: 256, 512 and 1,024 gave 440, 580 and 590 tokens/s on two
cores."""
_SHARE = 0.8
"""Of the room that is left: the rest is for the allocator, the logits' chunks and what the estimate misses."""


def make_plan(model: PreTrainedModel, budget: Budget, dtype: torch.dtype, *, longest: int, batch_size: int) -> Plan:
    """The plan for records of up to ``longest`` tokens; the model is loaded, its adapter attached."""
    room = max(0, int(budget.room() * _SHARE))
    kept, again = _bytes_per_token(model.config.get_text_config(), dtype)
    most = _CUDA_TOKENS if budget.device.type == "cuda" else _CPU_TOKENS
    for checkpointing, cost in ((False, kept), (True, again)):
        tokens = min(room // cost, max(most, longest))
        if tokens >= longest:
            return Plan(micro_batch=max(1, min(tokens // longest, batch_size)), checkpointing=checkpointing)
    return Plan(micro_batch=1, checkpointing=True)


def _bytes_per_token(config: Any, dtype: torch.dtype) -> tuple[int, int]:
    """Memory for one token's activations: all layers kept, and with one layer at a time computed again.

    A Llama layer keeps, in values: 8 of the hidden width (the residual stream, two norms in and out, queries, attention
    and output), 2 of the keys' and values' width, 5 of the MLP's. Two norms and the adapters' inputs are in float32.
    """
    width = config.hidden_size
    layers = config.num_hidden_layers
    inner = getattr(config, "intermediate_size", None) or 4 * width
    heads = config.num_attention_heads
    keys = (getattr(config, "num_key_value_heads", None) or heads) * (
        getattr(config, "head_dim", None) or width // heads
    )
    layer = (10 * width + 4 * keys + 5 * inner) * dtype.itemsize + 2 * width * 4 + heads * 4
    kept = layers * layer
    again = layers * width * dtype.itemsize + 2 * layer
    return kept, again
