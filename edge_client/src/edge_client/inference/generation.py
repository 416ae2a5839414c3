"""Greedy answers, several prompts at a time."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from transformers.generation.streamers import BaseStreamer

from edge_client.training.failures import ModelError
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import Base
from edge_client.training.packing import padded
from edge_client.training.shape import read_shape

from .protocol import Generated

_ROWS = 16
_CACHE = {"cpu": 2**29, "cuda": 2**31}
"""Bytes for the keys and values of all tokens of a batch."""
_UNFINISHED = "\N{REPLACEMENT CHARACTER}"
"""What the tokens decode to that are not yet a whole character."""
_PROBE = ([5, 6, 7, 8, 9, 10, 11], [12, 13, 14])
_TOLERANCE = 0.05
"""Of the norm of the logits: products of other shapes round otherwise."""


class Generator:
    """``base`` answering. ``most``: prompts that are answered at one time, to be lowered where memory runs out."""

    def __init__(self, base: Base, language_model: LanguageModel) -> None:
        self.most = _ROWS
        self._base = base
        self._model: Any = base.model
        self._precision = language_model.precision
        self._multiple = language_model.row_multiple
        ends = base.model.generation_config.eos_token_id
        self._stop = {base.tokenizer.eos_token_id, *(ends if isinstance(ends, list) else [ends])} - {None}
        config = base.model.config.get_text_config()
        self._context: int | None = getattr(config, "max_position_embeddings", None)
        self._token_bytes = _token_bytes(config.to_dict(), base.dtype.itemsize)
        self._pads: bool | None = None

    @contextmanager
    def ready(self) -> Iterator[None]:
        """Within the block the model takes what :meth:`answers` gives it."""
        with padded(self._model), torch.no_grad(), self._precision():
            if self._pads is None:
                self._pads = self._padding_changes_nothing()
            yield

    def rows(self, prompt: int, max_new_tokens: int) -> int:
        """How many prompts of up to ``prompt`` tokens to answer at a time."""
        length = prompt + max_new_tokens
        if not self._pads or (self._context is not None and length > self._context):
            return 1
        return max(1, min(self.most, _CACHE[self._base.device.type] // (length * self._token_bytes)))

    def answers(
        self, prompts: Sequence[Sequence[int]], max_new_tokens: int, told: Callable[[str], None] | None = None
    ) -> list[Generated]:
        """The likeliest answer to each prompt, up to the end of turn or ``max_new_tokens``. ``told``: called with the
        next characters of the answer to the one prompt, as they are made."""
        width = max(map(len, prompts))
        new = max_new_tokens if self._context is None else min(max_new_tokens, self._context - width)
        if new < 1:
            return [Generated(text="", tokens=0, ended=False) for _ in prompts]
        if self._pads:
            width = self._rounded(width, new)
        options = {} if told is None else {"streamer": _Pieces(self._base.tokenizer, self._stop, told)}
        output: Tensor = self._generate(prompts, new, width, **options)
        return [self._answer(row) for row in output[:, width:].tolist()]

    def _answer(self, tokens: list[int]) -> Generated:
        end = next((place for place, token in enumerate(tokens) if token in self._stop), None)
        said = tokens if end is None else tokens[:end]
        text = self._base.tokenizer.decode(said, skip_special_tokens=True).strip()
        return Generated(text=text, tokens=len(said) + (end is not None), ended=end is not None)

    def _rounded(self, width: int, new: int) -> int:
        """``width`` rounded up as a row of training is, as far as the context goes."""
        rounded = width + -width % self._multiple
        return rounded if self._context is None else min(rounded, self._context - new)

    def _generate(self, prompts: Sequence[Sequence[int]], new: int, width: int, **options: Any) -> Any:
        """``width``: tokens that each of ``prompts`` is padded to, at its left."""
        pad = min(self._stop, default=0)
        tokens = torch.tensor([[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts])
        mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        return self._model.generate(
            input_ids=tokens.to(self._base.device),
            attention_mask=mask.to(self._base.device),
            max_new_tokens=new,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,  # some models' own settings have another one
            eos_token_id=sorted(self._stop) or None,
            pad_token_id=pad,
            **options,
        )

    def _padding_changes_nothing(self) -> bool:
        """Whether a prompt padded at the left gets the logits that it gets alone: not where states are carried from
        token to token."""
        try:
            together = self._first_logits(_PROBE)[1]
            alone = self._first_logits(_PROBE[1:])[0]
        except (AttributeError, TypeError, ValueError, RuntimeError, KeyError, IndexError):
            return False
        return bool((together - alone).norm() <= _TOLERANCE * alone.norm())

    def _first_logits(self, prompts: Sequence[Sequence[int]]) -> Tensor:
        width = max(map(len, prompts))
        output = self._generate(prompts, 1, width, output_logits=True, return_dict_in_generate=True)
        logits: Tensor = output.logits[0]
        return logits.float()


class _Pieces(BaseStreamer):  # type: ignore[misc]
    """Tells an answer's characters as soon as they are whole: one may be made of several tokens."""

    def __init__(self, tokenizer: Any, stop: set[int], told: Callable[[str], None]) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._told = told
        self._tokens: list[int] | None = None
        self._length = 0

    def put(self, value: Tensor) -> None:
        """The prompt, and then token after token."""
        if self._tokens is None:
            self._tokens = []
        elif (token := int(value.flatten()[-1])) not in self._stop:
            self._tokens.append(token)
            self._tell(whole=False)

    def end(self) -> None:
        """There is no more."""
        self._tell(whole=True)

    def _tell(self, *, whole: bool) -> None:
        text = self._tokenizer.decode(self._tokens or [], skip_special_tokens=True)
        if len(text) > self._length and (whole or not text.endswith(_UNFINISHED)):
            self._told(text[self._length :])
            self._length = len(text)


def _token_bytes(config: dict[str, Any], width: int) -> int:
    """Bytes of a token's keys and values; as much as allows one prompt at a time where the shape is not known."""
    try:
        shape = read_shape(config)
    except ModelError:
        return max(_CACHE.values())
    return 2 * shape.layers * shape.key_heads * shape.head_width * width
