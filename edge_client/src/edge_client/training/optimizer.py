"""AdamW (Loshchilov & Hutter, arXiv:1711.05101, algorithm 2) on one flat vector, its state in 32 or in 8 bits.

In 8 bits each moment is a byte and a scale for BLOCK values (Dettmers et al., 8-bit Optimizers via Block-wise
Quantization, arXiv:2110.02861), by bitsandbytes: 2 bytes a value instead of 8.
"""

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
from bitsandbytes import functional
from torch import Tensor

from .footprint import BLOCK
from .work_folder import Vector

_BETAS = (0.9, 0.999)
_EPSILON = 1e-8
_PART = 1024 * BLOCK
"""Values that are updated at one time: on a CPU bitsandbytes widens the state of all that it is given."""

State = Mapping[str, Vector]
"""The running means of the gradient, ``mean``, and of its square, ``square``: float32[n]; or uint8[n], with
``mean_scales`` and ``square_scales``, float32, one for BLOCK values."""


class Optimizer(Protocol):
    """Moves the vector that it was made for."""

    def step(self, gradient: Tensor, number: int, rate: float) -> None:
        """Step ``number`` (from 0) with learning rate ``rate`` along ``gradient``, float32[n]. If memory runs out, the
        same call again goes on where it stopped."""

    def state(self) -> State:
        """What :meth:`load` goes on from, to the bit."""

    def load(self, state: State) -> None:
        """Go on from ``state``, of an optimizer with these or other bits."""


def make_optimizer(flat: Tensor, bits: int, weight_decay: float) -> Optimizer:
    """For ``flat``, float32[n]; ``bits`` of a value of its state: 32 or 8."""
    return (_InBytes if bits == 8 else _InFull)(flat, weight_decay)


class _InFull:
    """torch's, fused, and with its state made here: a step then needs no memory that it could lack half-way."""

    def __init__(self, flat: Tensor, weight_decay: float) -> None:
        self._flat = flat
        self._adamw = torch.optim.AdamW([flat], betas=_BETAS, eps=_EPSILON, weight_decay=weight_decay, fused=True)
        self._moments = {
            "step": torch.zeros((), device=flat.device),
            "exp_avg": torch.zeros_like(flat),
            "exp_avg_sq": torch.zeros_like(flat),
        }
        self._adamw.state[flat] = self._moments

    def step(self, gradient: Tensor, number: int, rate: float) -> None:
        self._adamw.param_groups[0]["lr"] = rate
        self._moments["step"].fill_(number)  # not counted twice if it is tried again
        self._flat.grad = gradient
        self._adamw.step()

    def state(self) -> State:
        return {name: _array(moment) for name, moment in self._named()}

    def load(self, state: State) -> None:
        for name, moment in self._named():
            values = torch.from_numpy(state[name])
            moment.copy_(values if values.is_floating_point() else _Bytes(moment, name).load(state).widened())

    def _named(self) -> list[tuple[str, Tensor]]:
        return [("mean", self._moments["exp_avg"]), ("square", self._moments["exp_avg_sq"])]


class _InBytes:
    """bitsandbytes', part by part."""

    def __init__(self, flat: Tensor, weight_decay: float) -> None:
        self._flat = flat
        self._weight_decay = weight_decay
        self._done = 0  # values that the step in progress has moved
        self._mean = _Bytes(flat, "mean")
        self._square = _Bytes(flat, "square")

    @torch.no_grad()
    def step(self, gradient: Tensor, number: int, rate: float) -> None:
        while self._done < self._flat.numel():
            part = slice(self._done, self._done + _PART)
            # In copies: where memory runs out within it, nothing has been moved.
            moved, mean, square = self._flat[part].clone(), self._mean.part(part), self._square.part(part)
            functional.optimizer_update_8bit_blockwise(
                optimizer_name="adam",  # its weight decay is AdamW's
                g=gradient[part],
                p=moved,
                state1=mean.codes,
                state2=square.codes,
                beta1=_BETAS[0],
                beta2=_BETAS[1],
                beta3=0.0,
                alpha=0.0,
                eps=_EPSILON,
                step=number + 1,
                lr=rate,
                qmap1=self._mean.book,
                qmap2=self._square.book,
                absmax1=mean.scales,
                absmax2=square.scales,
                weight_decay=self._weight_decay,
            )
            self._flat[part].copy_(moved)
            self._mean.put(part, mean)
            self._square.put(part, square)
            self._done += _PART
        self._done = 0

    def state(self) -> State:
        return self._mean.state() | self._square.state()

    def load(self, state: State) -> None:
        self._mean.load(state)
        self._square.load(state)


class _Stored(NamedTuple):
    codes: Tensor
    scales: Tensor


class _Bytes:
    """A moment: ``codes`` uint8[n], each the place in ``book``, float32[256], of a value from −1 to 1; ``scales``."""

    def __init__(self, like: Tensor, name: str) -> None:
        self._name = name
        self.book = functional.create_dynamic_map(signed=name == "mean").to(like.device)
        self.codes = torch.full_like(like, int(self.book.abs().argmin()), dtype=torch.uint8)
        self.scales = torch.zeros(-(-like.numel() // BLOCK), device=like.device)

    def state(self) -> dict[str, Vector]:
        return {self._name: _array(self.codes), f"{self._name}_scales": _array(self.scales)}

    def load(self, state: State) -> "_Bytes":
        codes = torch.from_numpy(state[self._name])
        if codes.is_floating_point():
            values = codes.to(self.book.device)
            codes, quantized = functional.quantize_blockwise(values, code=self.book, blocksize=BLOCK)
            self.scales.copy_(quantized.absmax)
        else:
            self.scales.copy_(torch.from_numpy(state[f"{self._name}_scales"]))
        self.codes.copy_(codes)
        return self

    def part(self, part: slice) -> _Stored:
        """A copy of the values at ``part``, which begins and ends with a block or with the vector."""
        return _Stored(self.codes[part].clone(), self.scales[_blocks(part)].clone())

    def put(self, part: slice, stored: _Stored) -> None:
        """Write them back."""
        self.codes[part].copy_(stored.codes)
        self.scales[_blocks(part)].copy_(stored.scales)

    def widened(self) -> Tensor:
        """float32[n]."""
        values: Tensor = functional.dequantize_blockwise(
            self.codes, absmax=self.scales, code=self.book, blocksize=BLOCK
        )
        return values


def _array(tensor: Tensor) -> Vector:
    """``tensor``'s own memory on a CPU."""
    values: Vector = tensor.detach().cpu().numpy()
    return values


def _blocks(part: slice) -> slice:
    return slice(part.start // BLOCK, -(-part.stop // BLOCK))
