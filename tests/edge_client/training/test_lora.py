"""The federation's adapter goes onto the model tensor by tensor; one that does not fit, or could do more than add
low-rank weights, is refused."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from tiny_model import Workshop, save_model
from transformers import AutoModelForCausalLM, PreTrainedModel

from edge_client.training.failures import AdapterError
from edge_client.training.lora import Adapter
from edge_client.training.memory import is_out_of_memory
from edge_client.training.plain_lora import lora_config
from fedit_shared import adapter as wire
from fedit_shared.messages import TensorSpec

LORA = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "v_proj"]}


def load(folder: Path) -> PreTrainedModel:
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    return model


def test_the_values_lie_where_peft_puts_them(workshop: Workshop, tmp_path: Path) -> None:
    config = (workshop.adapter / wire.CONFIG_NAME).read_text()
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    vector = np.random.default_rng(4).normal(size=wire.size(manifest)).astype(np.float32)
    folder = tmp_path / "peft"
    folder.mkdir()
    (folder / wire.CONFIG_NAME).write_text(config)
    (folder / wire.FILE_NAME).write_bytes(wire.write_adapter(manifest, vector))
    tokens = torch.arange(40).reshape(2, 20)

    ours = load(workshop.model)
    adapter = Adapter(ours, config, manifest)
    adapter.write(vector)
    theirs = PeftModel.from_pretrained(load(workshop.model), folder)
    with torch.no_grad():
        torch.testing.assert_close(ours(input_ids=tokens).logits, theirs(input_ids=tokens).logits)
    held = np.concatenate([parameter.detach().numpy().ravel() for parameter in adapter.parameters])
    assert held.tobytes() == vector.tobytes()


def test_taken_off_it_leaves_the_base_as_it_was(workshop: Workshop) -> None:
    model = load(workshop.model)
    names = [name for name, _ in model.named_parameters()]
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    Adapter(model, (workshop.adapter / wire.CONFIG_NAME).read_text(), manifest).remove()
    assert [name for name, _ in model.named_parameters()] == names


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"peft_type": "IA3"}, "IA3"),
        ({"megatron_config": {"a": 1}, "megatron_core": "os"}, "megatron_config"),
        ({"use_dora": True}, "use_dora"),
        ({"layer_replication": [[0, 2], [1, 2]]}, "layer_replication"),
        ({"loftq_config": {"loftq_bits": 4}}, "loftq_config"),
        ({"some_day": 1}, "some_day"),
        ({"r": 0}, "not usable|cannot be put"),
        ({"r": "many"}, "not usable|cannot be put"),
        ({"target_modules": ["w_pack"]}, "w_pack"),
    ],
)
def test_more_or_other_than_plain_lora_is_refused(workshop: Workshop, options: dict[str, Any], says: str) -> None:
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    with pytest.raises(AdapterError, match=says) as caught:
        Adapter(load(workshop.model), json.dumps(LORA | options), manifest)
    assert caught.value.advice


@pytest.mark.parametrize("text", ["", "[]", '"LORA"', "{", "[" * 100_000])
def test_a_configuration_that_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(AdapterError):
        lora_config(text)


def test_options_at_their_defaults_and_ways_to_start_are_no_matter() -> None:
    config = lora_config(json.dumps(LORA | {"use_dora": False, "init_lora_weights": "pissa", "loftq_config": {}}))
    assert (config.r, config.lora_alpha, config.init_lora_weights) == (4, 8, True)


def test_an_adapter_for_another_model_is_told_the_first_difference(workshop: Workshop, tmp_path: Path) -> None:
    config = (workshop.adapter / wire.CONFIG_NAME).read_text()
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    wider = save_model(tmp_path / "wider", hidden_size=96)
    with pytest.raises(AdapterError, match=r"q_proj\.lora_A\.weight is of shape \[4, 96\], not \[4, 64\]"):
        Adapter(load(wider), config, manifest)
    with pytest.raises(AdapterError, match="was not expected"):
        Adapter(load(workshop.model), config, manifest[1:])
    with pytest.raises(AdapterError, match="no tensor zz"):
        Adapter(load(workshop.model), config, (*manifest, TensorSpec(name="zz", shape=(1,))))


@pytest.mark.parametrize(
    ("options", "first"),
    [
        ({"target_modules": ["q_proj", "v_proj", "k_proj"]}, 0),
        ({"modules_to_save": ["lm_head"]}, 0),
        ({"rank_pattern": {"layers.1.self_attn.v_proj": 10**12}}, 0),
        ({}, 1),
    ],
)
def test_one_that_is_refused_leaves_the_base_as_it_was(workshop: Workshop, options: dict[str, Any], first: int) -> None:
    """Also where PEFT failed after its first layers."""
    model = load(workshop.model)
    before = [(name, type(module)) for name, module in model.named_modules()]
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    with pytest.raises((AdapterError, RuntimeError)):
        Adapter(model, json.dumps(LORA | options), manifest[first:])
    assert [(name, type(module)) for name, module in model.named_modules()] == before
    Adapter(model, (workshop.adapter / wire.CONFIG_NAME).read_text(), manifest)


def test_memory_that_runs_out_on_the_way_is_not_told_as_the_adapters_fault(workshop: Workshop) -> None:
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    with pytest.raises(RuntimeError) as caught:
        Adapter(load(workshop.model), json.dumps(LORA | {"r": 10**12}), manifest)
    assert is_out_of_memory(caught.value)


def test_modules_that_are_trained_whole_are_part_of_the_vector(workshop: Workshop) -> None:
    options = LORA | {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]}
    names = [f"base_model.model.model.layers.{n}.self_attn.q_proj.lora_{x}.weight" for n in (0, 1) for x in "AB"]
    manifest = (
        TensorSpec(name="base_model.model.lm_head.weight", shape=(264, 64)),
        *(TensorSpec(name=n, shape=(4, 64) if "_A" in n else (64, 4)) for n in names),
    )
    adapter = Adapter(load(workshop.model), json.dumps(options), manifest)
    assert [tuple(p.shape) for p in adapter.parameters] == [t.shape for t in manifest]
