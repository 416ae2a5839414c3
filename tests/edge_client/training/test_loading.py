"""A base model is loaded in the first way that works; memory that runs out is no reason to try the next."""

from pathlib import Path
from typing import Any

import bitsandbytes
import pytest
import torch
from tiny_model import make_tokenizer, save_model
from transformers import AutoModelForCausalLM, Gemma3Config

from edge_client.training.failures import ModelError
from edge_client.training.loading import QUANTIZED, load_base
from edge_client.training.memory import is_out_of_memory
from edge_client.training.model_files import read_config
from edge_client.training.shape import read_shape
from edge_client.training.shell import empty_model
from fedit_shared.messages.task import Quantization

CPU = torch.device("cpu")
RAN_OUT = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 MiB."),
    RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory: you tried"),
]


def fail_at_the_third_weight(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    quantize, calls = bitsandbytes.functional.int8_vectorwise_quant, []

    def failing(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) >= 3:
            raise error
        return quantize(*arguments, **options)

    monkeypatch.setattr(bitsandbytes.functional, "int8_vectorwise_quant", failing)


@pytest.mark.parametrize("allowed", [("int8", "nf4"), ("int8",)])
@pytest.mark.parametrize("error", RAN_OUT, ids=["python", "cuda", "cpu"])
def test_memory_that_runs_out_while_a_weight_is_quantized_is_let_through(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, allowed: tuple[Quantization, ...]
) -> None:
    fail_at_the_third_weight(monkeypatch, error)
    told: list[str] = []
    with pytest.raises(type(error)) as caught:
        load_base(model_folder, allowed, CPU, told.append)
    assert is_out_of_memory(caught.value)
    assert not told


def test_a_weight_that_cannot_be_quantized_is_a_reason_to_try_the_next_way(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_at_the_third_weight(monkeypatch, RuntimeError("no kernel for it"))
    told: list[str] = []
    assert load_base(model_folder, ("int8", "nf4"), CPU, told.append).quantization == "nf4"
    assert "instead" in told[0]
    with pytest.raises(ModelError, match="in 8 bits"):
        load_base(model_folder, ("int8",), CPU, told.append)


@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_a_falcon_is_quantized_and_says_what_it_says_unquantized(quantization: Quantization, tmp_path: Path) -> None:
    folder = save_model(tmp_path / "falcon", "Falcon")
    whole = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    base = load_base(folder, (quantization,), CPU, print)
    shape = read_shape(read_config(folder))
    layers = [m for m in base.model.modules() if isinstance(m, QUANTIZED)]
    assert len(layers) == shape.layers * len(shape.matrices)
    ids = torch.arange(1, 40).unsqueeze(0)
    with torch.no_grad():
        ours, theirs = (model(input_ids=ids).logits.float() for model in (base.model.eval(), whole.eval()))
    assert float((ours - theirs).norm() / theirs.norm()) < 0.2


def test_a_model_of_images_beside_text_is_neither_loaded_nor_given_an_adapter(tmp_path: Path) -> None:
    Gemma3Config().save_pretrained(tmp_path)
    make_tokenizer().save_pretrained(tmp_path)
    for refused in (lambda: load_base(tmp_path, ("int8", "nf4"), CPU, print), lambda: empty_model(tmp_path)):
        with pytest.raises(ModelError, match="text and vision"):
            refused()
