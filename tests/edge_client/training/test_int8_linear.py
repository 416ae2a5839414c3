"""The int8 layer multiplies by bitsandbytes' dequantized weights, forwards and backwards, and keeps only the codes."""

import bitsandbytes
import pytest
import torch
from tiny_model import Workshop
from torch import nn

from edge_client.data import Example
from edge_client.training import loading
from edge_client.training.int8_linear import Int8Linear, use_int8_linear
from edge_client.training.language_model import LanguageModel
from edge_client.training.lora import Adapter
from fedit_shared import adapter as wire


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


def test_what_a_norm_gives_in_float32_is_multiplied_in_autocasts_dtype_forwards_and_backwards() -> None:
    layer = quantized()
    weight = dequantized(layer)
    Int8Linear.over(layer)
    x = torch.randn(3, 5, 48, requires_grad=True)
    slope = torch.randn(3, 5, 32)
    with torch.autocast("cpu", torch.bfloat16):
        y = layer(x)
    (gradient,) = torch.autograd.grad(y, x, slope.bfloat16())
    assert (y.dtype, gradient.dtype) == (torch.bfloat16, torch.float32)
    torch.testing.assert_close(y.float(), nn.functional.linear(x, weight, layer.bias), rtol=2e-2, atol=2e-2)
    torch.testing.assert_close(gradient, slope @ weight, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("size", [1e-9, 1.0, 1e6])
def test_multiplied_in_float16_values_of_any_size_keep_their_precision_forwards_and_backwards(size: float) -> None:
    layer = quantized()
    weight = dequantized(layer)
    Int8Linear.over(layer, half=True)
    x = (size * torch.randn(3, 5, 48)).requires_grad_()
    y = layer(x)
    expected = nn.functional.linear(x, weight, layer.bias)
    slope = size * torch.randn(3, 5, 32)
    (gradient,) = torch.autograd.grad(y, x, slope)
    assert (y.dtype, gradient.dtype) == (torch.float32, torch.float32)
    torch.testing.assert_close(y - layer.bias, expected - layer.bias, rtol=0, atol=5e-3 * size)
    torch.testing.assert_close(gradient, slope @ weight, rtol=0, atol=5e-3 * size)


def test_multiplied_in_float16_what_is_not_finite_stays_so_and_nothing_stays_nothing() -> None:
    layer = quantized(bias=False)
    Int8Linear.over(layer, half=True)
    x = torch.zeros(3, 48)
    x[1, 7], x[2, 7] = float("inf"), float("nan")
    finite = layer(x).isfinite()
    assert layer(x)[0].abs().max() == 0
    assert finite.all(1).tolist() == [True, False, False]


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


@pytest.mark.parametrize("bfloat16", [True, False])
def test_a_card_without_bfloat16_gets_float32_multiplied_in_float16(
    bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: bfloat16)
    card = torch.device("cuda")
    assert loading.compute_dtype(card) == (torch.bfloat16 if bfloat16 else torch.float32)
    assert loading.half_products(card) is not bfloat16
    assert not loading.half_products(torch.device("cpu"))


def test_an_adapters_gradient_is_the_same_multiplied_in_float16(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gradient(*, half: bool) -> torch.Tensor:
        monkeypatch.setattr(loading, "compute_dtype", lambda device: torch.float32)
        monkeypatch.setattr(loading, "half_products", lambda device: half)
        base = loading.load_base(workshop.model, ("int8",), torch.device("cpu"), lambda _: None)
        assert base.kernel == ("weight-only in float16" if half else "weight-only")
        manifest, vector = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
        adapter = Adapter(base.model, (workshop.adapter / wire.CONFIG_NAME).read_text(), manifest)
        adapter.write(vector)
        examples = [Example(tuple(range(10, 40 + number)), 1, number) for number in range(3)]
        loss = LanguageModel(base.model.train(), base.dtype, lambda _: None).loss(examples, [])
        # Of a millionth of the loss: in float16 throughout, nothing would be left of it.
        gradients = torch.autograd.grad(1e-6 * loss, adapter.parameters)
        return torch.cat([each.reshape(-1) for each in gradients])

    found, expected = gradient(half=True), gradient(half=False)
    assert 0 < expected.abs().max() < 1e-4
    assert (found - expected).norm() < 0.01 * expected.norm()
