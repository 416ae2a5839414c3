"""A linear layer over bitsandbytes' int8 weights that keeps nothing but them for the backward pass.

bitsandbytes stores a weight W, out × in, as codes q (int8) and one scale a row, c = max|W| of the row, so that
W ≈ q · c / 127 (Dettmers et al., LLM.int8(), arXiv:2208.07339, section 2). Its own layer also quantizes the
activations and saves them for backward, twice. Here the weight alone is quantized:

    y  = x (q · c/127)ᵀ + b  =  (x qᵀ) ∘ c/127 + b          dx = (dy ∘ c/127) q

The codes are exact in bfloat16 (|q| ≤ 127), so scaling the product instead of the weight rounds less and touches fewer
values. q is widened once in the forward pass and once more in the backward pass, a layer at a time.

Cards that multiply no bfloat16 multiply float16 several times as fast as float32, but float16 holds nothing beyond
65,504 and hardly anything below 10⁻⁷: activations of models trained in bfloat16 overflow in it, gradients vanish. So
all is float32 there but the product itself, before which each row of x, and of dy, is divided by its largest value s:

    x qᵀ  =  128 s · ((x/s) (q/128)ᵀ)           |(x/s) (q/128)ᵀ| ≤ in

which needs no scaling of the loss, whose factor would have to be found and kept, and leaves no step out.
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


_CODES = 128
_workspaces: dict[torch.dtype, Tensor] = {}


class _HalfProduct(torch.autograd.Function):
    """The same of x in float32, multiplied in float16."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, codes: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(codes, scale)
        return _half_product(x, codes.t()).mul_(scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, None, None]:
        codes, scale = ctx.saved_tensors
        (grad,) = grads
        return _half_product(grad * scale, codes), None, None


def _half_product(x: Tensor, codes: Tensor) -> Tensor:
    """x · codes, for x float32 (…, n) and codes int8[n, m]; a row that is not finite gives one that is not."""
    largest = x.abs().amax(-1, keepdim=True).clamp_min_(torch.finfo(torch.float32).tiny)
    product = (x / largest).half() @ codes.half().div_(_CODES)
    return product.float().mul_(largest * _CODES)


def _widened(codes: Tensor, dtype: torch.dtype) -> Tensor:
    """``codes`` in ``dtype``, to be used before the next call: on a CPU they share one place, since a new one costs the
    kernel a fault for each of its pages, several hundred times a step."""
    if codes.device.type != "cpu":
        return codes.to(dtype)
    place = _workspaces.get(dtype)
    if place is None or place.numel() < codes.numel():
        place = _workspaces[dtype] = torch.empty(codes.numel(), dtype=dtype)
    return place[: codes.numel()].view(codes.shape).copy_(codes)


_Product = Callable[[Tensor, Tensor, Tensor], Tensor]
_int8_product: _Product = _Int8Product.apply
_int8_half_product: _Product = _HalfProduct.apply


class Int8Linear(bitsandbytes.nn.Linear8bitLt):
    """bitsandbytes' layer and storage, with the products above. PEFT takes it for what it inherits from."""

    scale: Tensor
    half: bool
    """Whether float32 is multiplied in float16."""

    @classmethod
    def over(cls, layer: bitsandbytes.nn.Linear8bitLt, *, half: bool = False) -> None:
        """Turn ``layer``, already quantized, into an Int8Linear in place: the weights are not copied."""
        weight, state = layer.weight, layer.state
        scale = weight.SCB if weight.SCB is not None else state.SCB
        weight.CB = weight.SCB = state.CB = state.SCB = None
        layer.__class__ = cls
        layer.half = half
        layer.register_buffer("scale", scale.float().div_(127), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out), in x's dtype or autocast's: there norms give float32, gradients are narrow."""
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        multiply = _int8_half_product if self.half and x.dtype == torch.float32 else _int8_product
        product = multiply(x, self.weight.data, self.scale.to(x.dtype))
        return product if self.bias is None else product + self.bias.to(x.dtype)


def use_int8_linear(model: nn.Module, *, half: bool = False) -> int:
    """Replace every 8-bit layer of ``model`` in place; how many there were. ``half``: see :class:`Int8Linear`."""
    layers = [layer for layer in model.modules() if type(layer) is bitsandbytes.nn.Linear8bitLt]
    for layer in layers:
        Int8Linear.over(layer, half=half)
    return len(layers)
