"""The shape read from config.json alone is that of the model that transformers builds from it."""

import json
from typing import Any

import pytest
import torch
import transformers
from transformers.pytorch_utils import Conv1D

from edge_client.training.failures import ModelError
from edge_client.training.footprint import make_adapter, task_adapter
from edge_client.training.shape import read_positions, read_shape
from fedit_shared.messages import TensorSpec

SMALL = {
    "vocab_size": 1000,
    "hidden_size": 256,
    "intermediate_size": 640,
    "num_hidden_layers": 3,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
}
OLD = {"vocab_size": 1000, "n_embd": 256, "n_layer": 3, "n_head": 8, "n_positions": 128}
KINDS: dict[str, dict[str, Any]] = {
    "Llama": SMALL,
    "Mistral": SMALL,
    "Qwen2": SMALL,
    "Qwen3": SMALL,
    "Gemma": SMALL,
    "Gemma2": SMALL,
    "SmolLM3": SMALL | {"pad_token_id": 0},
    "StableLm": SMALL,
    "Phi": SMALL,
    "Phi3": SMALL | {"pad_token_id": 0},
    "Starcoder2": SMALL,
    "GPTNeoX": SMALL,
    "Falcon": SMALL,
    "OPT": SMALL | {"ffn_dim": 640, "word_embed_proj_dim": 256},
    "GPT2": OLD,
    "GPTJ": OLD | {"rotary_dim": 8},
    "CodeGen": OLD | {"rotary_dim": 8},
    "GPTBigCode": OLD,
    "GPTNeo": SMALL | {"num_layers": 3, "num_heads": 8, "attention_types": [[["global"], 3]]},
    "Bloom": SMALL | {"n_layer": 3, "n_head": 8},
    "Mpt": {"vocab_size": 1000, "d_model": 256, "n_layers": 3, "n_heads": 8},
    "Nemotron": SMALL,
    "Arcee": SMALL,
}


def linear_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    head = model.get_output_embeddings()
    return [m for m in model.modules() if isinstance(m, torch.nn.Linear | Conv1D) and m is not head]


@pytest.mark.parametrize("kind", KINDS)
def test_parameters_are_counted_as_transformers_makes_them(kind: str) -> None:
    config = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    shape = read_shape(json.loads(config.to_json_string()))
    assert not shape.guesses
    assert shape.quantized == sum(layer.weight.numel() for layer in linear_layers(model))
    assert shape.quantized + shape.unquantized == pytest.approx(model.num_parameters(), rel=0.01)


@pytest.mark.parametrize("kind", ["Llama", "Gemma", "GPT2", "GPTNeoX"])
def test_what_a_config_leaves_out_is_the_types_default(kind: str) -> None:
    whole = getattr(transformers, f"{kind}Config")(**KINDS[kind])
    short = {"model_type": whole.model_type, **KINDS[kind]}
    assert read_shape(short) == read_shape(whole.to_dict())


def test_an_unknown_type_is_taken_for_a_llama_and_says_so() -> None:
    shape = read_shape(SMALL | {"model_type": "unheard-of"})
    assert shape.quantized == read_shape(SMALL | {"model_type": "llama"}).quantized
    assert shape.guesses == ("Models of type unheard-of are taken for ones like Llama.",)


def test_layers_that_are_not_attention_are_named_as_a_guess() -> None:
    types = ["conv", "full_attention", "conv", "sliding_attention", "linear_attention"]
    guesses = read_shape(SMALL | {"model_type": "lfm2", "layer_types": types}).guesses
    assert guesses[1] == "Its layers of conv and linear_attention are planned as if they were attention."
    assert not read_shape(SMALL | {"model_type": "llama", "layer_types": types[1::2]}).guesses


def test_experts_are_counted_as_unquantized_and_said() -> None:
    shape = read_shape(SMALL | {"model_type": "mixtral", "num_local_experts": 4})
    assert shape.unquantized > 3 * 4 * 3 * 256 * 640
    assert any("4 experts" in guess for guess in shape.guesses)


@pytest.mark.parametrize("config", [{}, {"hidden_size": 0}, {"hidden_size": "wide"}, {"hidden_size": True}])
def test_what_is_no_language_models_config_is_told_in_one_line(config: dict[str, Any]) -> None:
    with pytest.raises(ModelError) as caught:
        read_shape(config)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize("name", sorted({*SMALL, "head_dim", "num_local_experts"} - {"max_position_embeddings"}))
def test_a_size_that_no_model_has_is_refused_before_anything_is_made_of_it(name: str) -> None:
    with pytest.raises(ModelError, match=f"a {name} of more than"):
        read_shape(SMALL | {"model_type": "llama", name: 10**9})


@pytest.mark.parametrize("kind", [["llama"], {"llama": 1}, 7])
def test_a_type_that_is_no_text_is_refused_and_not_taken_for_a_llama(kind: object) -> None:
    with pytest.raises(ModelError, match="model_type"):
        read_shape(SMALL | {"model_type": kind})


@pytest.mark.parametrize("kind", ["GPT2", "OPT", "GPTJ", "CodeGen", "GPTNeo", "GPTBigCode", "BioGpt"])
def test_a_table_of_positions_bounds_a_texts_length(kind: str) -> None:
    kind = {"CodeGen": "CodeGenConfig", "BioGpt": "BioGptConfig"}.get(kind, f"{kind}Config")
    default = getattr(transformers, kind)()
    longest = default.max_position_embeddings
    assert read_positions(default.to_dict()) == longest
    assert read_positions({"model_type": default.model_type}) == longest
    assert read_positions(getattr(transformers, kind)(max_position_embeddings=77).to_dict()) == 77


@pytest.mark.parametrize("kind", ["Llama", "Gemma2", "GPTNeoX", "Bloom"])
def test_computed_positions_bound_nothing(kind: str) -> None:
    assert read_positions(getattr(transformers, f"{kind}Config")().to_dict()) is None


def test_a_tasks_adapter_is_the_one_made_from_rank_and_targets() -> None:
    shape = read_shape(SMALL | {"model_type": "llama"})
    tensors = []
    for layer in range(3):
        for name, out in (("q_proj", 256), ("v_proj", 64)):
            at = f"base_model.model.model.layers.{layer}.self_attn.{name}"
            tensors.append(TensorSpec(name=f"{at}.lora_A.weight", shape=(4, 256)))
            tensors.append(TensorSpec(name=f"{at}.lora_B.weight", shape=(out, 4)))
    assert task_adapter(tensors) == make_adapter(shape, 4, ("q_proj", "v_proj"))


def test_a_bloom_as_it_was_published_is_as_wide_as_its_n_embed() -> None:
    published = {"model_type": "bloom", "n_embed": 256, "n_layer": 3, "num_attention_heads": 8, "vocab_size": 1000}
    config = transformers.BloomConfig(**published)
    found = read_shape(published)
    assert found.width == config.hidden_size == 256
    assert found == read_shape(json.loads(config.to_json_string()))


def test_a_model_of_images_beside_text_is_refused_with_the_type_that_holds_the_text_alone() -> None:
    published = {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text"}, "vision_config": {"layers": 27}}
    with pytest.raises(ModelError, match="text and vision") as caught:
        read_shape(published)
    assert "gemma3_text" in caught.value.advice
    llama = SMALL | {"model_type": "llama"}
    assert read_shape({"model_type": "nested", "text_config": llama}) == read_shape(llama)
