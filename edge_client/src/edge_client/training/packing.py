"""Records one after the other in one row of tokens, each with its own positions and none seeing another.

Everything but attention works token by token, so a row without padding is work saved; attention is done record by
record. transformers would do it from the restarting positions alone, but with a mask of all pairs of tokens in the
row, or with flash-attn, which is no dependency. Measured (docs/adr/0006), as a multiple of
grouping's tokens/s: record by record 1.0 to 2.0 from two of the longest records at a time on, 0.8 to 1.2 with one; with
the mask 0.9 to 1.2.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

NAME = "fedit_record_by_record"
_PADDED = "fedit_padded"
_PROBE_LENGTHS = (5, 7, 4)
_WINDOWS = ("sliding_window", "attention_chunk_size")
_TOLERANCE = 0.05
"""Of the norm of a record's hidden states: bfloat16 rounds, and differently in products of other shapes."""


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    record_lengths: Sequence[int] | None = None,
    **options: Any,
) -> tuple[Tensor, None]:
    """transformers' SDPA, for each record by itself if ``record_lengths`` is given: query, key and value are
    [1, heads, tokens, width] then. On a CPU in float32, whatever comes in: in bfloat16 it is slower, most of all for
    short records, and compiles kernels for each length that it meets, 3 MB that are never let go."""
    if query.device.type == "cpu" and query.dtype != torch.float32:
        with torch.autocast("cpu", enabled=False):
            wide = query.float(), key.float(), value.float()
            output = _attend(module, *wide, attention_mask, record_lengths, options)
        return output.to(query.dtype), None
    return _attend(module, query, key, value, attention_mask, record_lengths, options), None


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    record_lengths: Sequence[int] | None,
    options: dict[str, Any],
) -> Tensor:
    if record_lengths is None:
        output: Tensor = sdpa_attention_forward(module, query, key, value, attention_mask, **options)[0]
        return output
    lengths = list(record_lengths)
    records = zip(query.split(lengths, 2), key.split(lengths, 2), value.split(lengths, 2), strict=True)
    return torch.cat([sdpa_attention_forward(module, q, k, v, None, **options)[0] for q, k, v in records], dim=1)


AttentionInterface.register(NAME, _attention)
AttentionInterface.register(_PADDED, _attention)
AttentionMaskInterface.register(_PADDED, sdpa_mask)


def packed(tokens: Sequence[Sequence[int]], device: torch.device) -> dict[str, Any]:
    """What a decoder that can pack takes to see ``tokens`` of several records in one row."""
    return {
        "input_ids": torch.cat([torch.tensor(each) for each in tokens]).unsqueeze(0).to(device),
        "position_ids": torch.cat([torch.arange(len(each)) for each in tokens]).unsqueeze(0).to(device),
        "record_lengths": [len(each) for each in tokens],
    }


@torch.no_grad()
def enable_packing(model: PreTrainedModel, decoder: nn.Module, longest: int | None) -> bool:
    """Make ``decoder``, of ``model``, take :func:`packed`, of texts of up to ``longest`` tokens (None: not known).
    False, and it does not, if it cannot: its attention is not transformers' SDPA, or looks back over a window that is
    shorter than a text, or a try shows that records see each other (states carried from token to token) or are not
    what they are by themselves."""
    config = model.config.get_text_config()
    before = config._attn_implementation
    windows = [size for name in _WINDOWS if (size := getattr(config, name, None))]
    if windows and (longest is None or longest > min(windows)):
        if before == NAME:  # made for another LanguageModel, of shorter texts: it makes no mask
            model.set_attn_implementation("sdpa")
        return False
    if before == NAME:  # tried when another LanguageModel was made of it
        return True
    if before != "sdpa":
        return False
    training = model.training
    model.eval()
    try:
        model.set_attn_implementation(NAME)
        if _separate(decoder, model.device):
            return True
    except (AttributeError, TypeError, ValueError, RuntimeError, KeyError, IndexError):
        pass  # an architecture with a forward of its own ways
    finally:
        model.train(training)
    model.set_attn_implementation(before)
    return False


@contextmanager
def padded(model: PreTrainedModel) -> Iterator[None]:
    """Within the block ``model`` takes batches padded at the left, with a mask: for :func:`packed`'s attention
    transformers makes none."""
    packs = model.config.get_text_config()._attn_implementation == NAME
    if packs:
        model.set_attn_implementation(_PADDED)
    try:
        yield
    finally:
        if packs:
            model.set_attn_implementation(NAME)


def _separate(decoder: nn.Module, device: torch.device) -> bool:
    """Whether each of some records packed is what it is alone, and the same to the bit whatever its neighbours."""
    starts = [sum(_PROBE_LENGTHS[:place]) for place in range(len(_PROBE_LENGTHS))]
    records = [list(range(start, start + length)) for start, length in zip(starts, _PROBE_LENGTHS, strict=True)]

    def states(*tokens: Sequence[int]) -> list[Tensor]:
        hidden: Tensor = decoder(**packed(tokens, device), use_cache=False).last_hidden_state[0]
        return list(hidden.split([len(each) for each in tokens]))

    together = states(*records)
    others = [states(*(r if place == kept else r[::-1] for place, r in enumerate(records))) for kept in range(3)]
    for place, record in enumerate(records):
        alone = decoder(input_ids=torch.tensor([record], device=device), use_cache=False).last_hidden_state[0]
        if not torch.equal(others[place][place], together[place]):
            return False
        if (together[place] - alone).norm() > _TOLERANCE * alone.norm():
            return False
    return True
