"""In 4 bits an adapter's gradient is that of the dequantized weights, whatever was computed with them before."""

from pathlib import Path

import bitsandbytes
import pytest
import torch
from tiny_model import save_model
from torch import Tensor
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.pytorch_utils import Conv1D

from edge_client.data import Example
from edge_client.training.create import create
from edge_client.training.job import CreateJob
from edge_client.training.language_model import LanguageModel
from edge_client.training.loading import load_base
from edge_client.training.lora import Adapter
from fedit_shared import adapter as wire

CPU = torch.device("cpu")
EXAMPLES = [Example(tuple(range(10, 60)), 1, 0), Example(tuple(range(90, 130)), 1, 1)]


@pytest.fixture(autouse=True)
def as_on_a_cpu_with_avx512_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    """bitsandbytes repacks weights for inference on such a CPU, which takes them from the backward pass."""
    monkeypatch.setattr(bitsandbytes.nn.modules, "has_avx512bf16", lambda: True)


def adapter_on(model: PreTrainedModel, folder: Path) -> Adapter:
    """The new adapter in ``folder``, with values in both of its factors."""
    manifest, vector = wire.read_adapter((folder / wire.FILE_NAME).read_bytes())
    adapter = Adapter(model.requires_grad_(False), (folder / wire.CONFIG_NAME).read_text(), manifest)
    noise = torch.randn(len(vector), generator=torch.Generator().manual_seed(3))
    adapter.write(vector + 0.02 * noise.numpy())
    return adapter


def gradients(model: PreTrainedModel, adapter: Adapter, dtype: torch.dtype) -> tuple[float, list[Tensor]]:
    loss = LanguageModel(model.train(), dtype, print).loss(EXAMPLES, [])
    return float(loss.detach()), list(torch.autograd.grad(loss, adapter.parameters))


@pytest.mark.parametrize(
    ("kind", "targets", "changes"),
    [
        ("Llama", ("q_proj", "v_proj", "down_proj"), {}),
        ("Llama", ("q_proj", "v_proj", "down_proj"), {"attention_bias": True, "mlp_bias": True}),
        ("GPT2", ("c_attn",), dict.fromkeys(("resid_pdrop", "attn_pdrop", "embd_pdrop"), 0)),
    ],
    ids=["plain", "biases", "gpt2"],
)
def test_every_layers_gradient_is_that_of_the_dequantized_weights(
    kind: str, targets: tuple[str, ...], changes: dict[str, object], tmp_path: Path
) -> None:
    model = save_model(tmp_path / "model", kind, **changes)
    create(CreateJob(model=str(model), out=str(tmp_path / "a"), rank=4, target_modules=targets, seed=1))
    plain = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)
    base = load_base(model, ("nf4",), CPU, print)
    layers = {n: layer for n, layer in base.model.named_modules() if isinstance(layer, bitsandbytes.nn.Linear4bit)}
    with torch.no_grad():
        for name, layer in layers.items():
            weight = bitsandbytes.functional.dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            own = plain.get_submodule(name)
            own.weight.copy_(weight.t() if isinstance(own, Conv1D) else weight)
    loss, found = gradients(base.model, adapter_on(base.model, tmp_path / "a"), base.dtype)
    expected_loss, expected = gradients(plain, adapter_on(plain, tmp_path / "a"), torch.float32)
    assert loss == pytest.approx(expected_loss, rel=0.01)
    for ours, theirs in zip(found, expected, strict=True):
        assert float((ours - theirs).norm()) < 0.1 * float(theirs.norm())
