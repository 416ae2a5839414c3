"""A linear layer over bitsandbytes' int8 weights that keeps nothing but them for the backward pass.

bitsandbytes stores a weight W, out × in, as codes q (int8) and one scale a row, c = max|W| of the row, so that
W ≈ q · c / 127 (Dettmers et al., LLM.int8(), arXiv:2208.07339, section 2). Its own layer also quantizes the
activations and saves them for backward, twice. Here the weight alone is quantized:

    y  = x (q · c/127)ᵀ + b  =  (x qᵀ) ∘ c/127 + b          dx = (dy ∘ c/127) q

The codes are exact in bfloat16 and float16 (|q| ≤ 127), so scaling the product instead of the weight rounds less
and touches fewer values. q is widened once in the forward pass and once more in the backward pass, a layer at a time.
"""

from collections.abc import Callable
from typing import Any

import bitsandbytes
import torch
from torch import Tensor, nn


class _Int8Product(torch.autograd.Function):
    """x (…, in) · qᵀ ∘ scale, for q int8[out, in] and scale[out] in x's dtype."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(codes, scale)
        return (x @ _widened(codes, x.dtype).t()).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        codes, scale = ctx.saved_tensors
        (grad,) = grads
        return (grad * scale) @ _widened(codes, grad.dtype), None, None


_workspaces: dict[torch.dtype, Tensor] = {}


def _widened(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """``codes`` in ``dtype``, to be used before the next call: on a CPU they share one place, since a new one costs the
    kernel a fault for each of its pages, several hundred times a step."""
    if codes.device.type != "cpu":
        return codes.to(dtype)
    place = _workspaces.get(dtype)
    if place is None or place.numel() < codes.numel():
        place = _workspaces[dtype] = torch.empty(codes.numel(), dtype=dtype)
    return place[: codes.numel()].view(codes.shape).copy_(codes)


_int8_product: Callable[[Tensor, Tensor, Tensor], Tensor] = _Int8Product.apply


class Int8Linear(bitsandbytes.nn.Linear8bitLt):
    """bitsandbytes' layer and storage, with the product above. PEFT takes it for what it inherits from."""

    scale: Tensor

    @classmethod
    def over(cls, layer: bitsandbytes.nn.Linear8bitLt) -> None:
        """Turn ``layer``, already quantized, into an Int8Linear in place: the weights are not copied."""
        weight, state = layer.weight, layer.state
        scale = weight.SCB if weight.SCB is not None else state.SCB
        weight.CB = weight.SCB = state.CB = state.SCB = None
        layer.__class__ = cls
        layer.register_buffer("scale", scale.float().div_(127), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out), in x's dtype."""
        product = _int8_product(x, self.weight.data, self.scale.to(x.dtype))
        return product if self.bias is None else product + self.bias.to(x.dtype)


def use_int8_linear(model: nn.Module) -> int:
    """Replace every 8-bit layer of ``model`` in place; how many there were."""
    layers = [layer for layer in model.modules() if type(layer) is bitsandbytes.nn.Linear8bitLt]
    for layer in layers:
        Int8Linear.over(layer)
    return len(layers)
