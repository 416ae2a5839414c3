"""The int8 layer multiplies by bitsandbytes' dequantized weights, forwards and backwards, and keeps only the codes."""

import bitsandbytes
import pytest
import torch
from torch import nn

from edge_client.training.int8_linear import Int8Linear, use_int8_linear


def quantized(bias: bool = True) -> bitsandbytes.nn.Linear8bitLt:
    torch.manual_seed(2)
    plain = nn.Linear(48, 32, bias=bias)
    layer = bitsandbytes.nn.Linear8bitLt(48, 32, bias=bias, has_fp16_weights=False)
    layer.load_state_dict(plain.state_dict())
    return layer.to("cpu")


def dequantized(layer: bitsandbytes.nn.Linear8bitLt) -> torch.Tensor:
    return bitsandbytes.functional.int8_vectorwise_dequant(layer.weight.CB, layer.weight.SCB).clone()


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)])
@pytest.mark.parametrize("bias", [True, False])
def test_product_and_gradient_are_those_of_the_dequantized_weights(
    dtype: torch.dtype, tolerance: float, bias: bool
) -> None:
    layer = quantized(bias)
    weight = dequantized(layer)
    Int8Linear.over(layer)
    x = torch.randn(3, 5, 48).to(dtype).requires_grad_()
    y = layer(x)
    expected = nn.functional.linear(x.float(), weight, layer.bias)
    slope = torch.randn(3, 5, 32).to(dtype)
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert (y.dtype, gradient.dtype) == (dtype, dtype)
    torch.testing.assert_close(y.float(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient.float(), slope.float() @ weight, rtol=tolerance, atol=tolerance)


def test_nothing_is_kept_for_backward_but_codes_and_scales() -> None:
    layer = quantized()
    Int8Linear.over(layer)
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        layer(torch.randn(7, 48, requires_grad=True))
    large = [tensor for tensor in kept if tensor.numel() >= 7 * 32]
    assert [tensor.dtype for tensor in large] == [torch.int8]
    assert large[0].data_ptr() == layer.weight.data_ptr()


def test_every_8_bit_layer_of_a_model_is_replaced_and_no_other() -> None:
    model = nn.Sequential(quantized(), nn.Linear(32, 4), quantized())
    assert use_int8_linear(model) == 2
    assert [type(layer) for layer in model] == [Int8Linear, nn.Linear, Int8Linear]
    assert use_int8_linear(model) == 0
