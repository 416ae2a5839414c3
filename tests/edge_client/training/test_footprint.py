"""What autograd keeps, what loading holds, and what a child needs in all are what the footprint says."""

import asyncio
import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import bitsandbytes
import msgspec
import peft
import pytest
import torch
import transformers
from tiny_model import Workshop, save_model

from edge_client.data.template import Example
from edge_client.training import Finished, Notice, Planned, TrainEvent, run_training
from edge_client.training.checkpointing import recompute
from edge_client.training.create import create
from edge_client.training.footprint import Way, Work, make_adapter, peak, table, task_adapter, weights
from edge_client.training.int8_linear import use_int8_linear
from edge_client.training.job import CreateJob
from edge_client.training.language_model import LanguageModel
from edge_client.training.lora import Adapter
from edge_client.training.model_files import read_config
from edge_client.training.process import _environment
from edge_client.training.shape import read_shape
from fedit_shared import adapter as wire
from fedit_shared.strategies import turn_of

RECORDS, LENGTH = 3, 64


def language_model(workshop: Workshop, dtype: torch.dtype) -> tuple[LanguageModel, Work]:
    """In 8 bits, with its adapter, and the work that it is."""
    from edge_client.training.loading import _load

    model = _load(workshop.model, "int8", dtype, torch.device("cpu"))
    model.requires_grad_(False)
    assert use_int8_linear(model)
    manifest, vector = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    Adapter(model, (workshop.adapter / wire.CONFIG_NAME).read_text(), manifest).write(vector)
    shape = read_shape(read_config(workshop.model))
    work = Work(shape, task_adapter(manifest), False, dtype.itemsize, LENGTH, 0)
    return LanguageModel(model.train(), dtype, lambda _: None), work


def kept(model: LanguageModel, lengths: Sequence[int] = (LENGTH,) * RECORDS) -> int:
    """Bytes that a forward pass leaves for the backward pass, each storage once, the model's own left out."""
    own = {tensor.untyped_storage().data_ptr() for tensor in (*model.model.parameters(), *model.model.buffers())}
    found: dict[int, torch.Tensor] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        place = tensor.untyped_storage().data_ptr()
        if place not in own:
            found[place] = tensor  # held, so that the address is not used again
        return tensor

    examples = [Example(tuple(10 + i % 200 for i in range(n)), 1, number) for number, n in enumerate(lengths)]
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        model.loss(examples, [])
    return sum(tensor.untyped_storage().nbytes() for tensor in found.values())


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("again", [0, 1, 2])
def test_activations_are_what_autograd_keeps(workshop: Workshop, dtype: torch.dtype, again: int) -> None:
    model, work = language_model(workshop, dtype)
    assert recompute(model.model, again) == again
    lines = table(work, Way("int8", RECORDS, again))
    planned = sum(line.bytes for line in lines if line.what.startswith(("activations, ", "inputs of ")))
    once = RECORDS * LENGTH * work.shape.width * (4 + work.width)  # the last norm's input and the last hidden states
    assert kept(model) == pytest.approx(planned + once, rel=0.1)


SMALL = {"vocab_size": 264, "num_hidden_layers": 3, "hidden_size": 128, "intermediate_size": 320, "pad_token_id": 0}
SMALL |= {"num_attention_heads": 8, "num_key_value_heads": 2, "bos_token_id": None, "eos_token_id": None}
OLD = {"vocab_size": 264, "n_embd": 128, "n_layer": 3, "n_head": 8, "n_inner": 320}
FAMILIES: dict[str, tuple[str, dict[str, Any]]] = {
    **{name: (name, SMALL) for name in "Llama Mistral Qwen2 Qwen3 Gemma Gemma2 Gemma3Text SmolLM3 StableLm".split()},
    **{name: (name, SMALL) for name in "Olmo Olmo2 Granite Cohere Cohere2 Ernie4_5 Glm Glm4 Phi3 Phi".split()},
    **{name: (name, SMALL) for name in "GPTNeoX Starcoder2 Falcon Nemotron Arcee".split()},
    **{name: (name, OLD) for name in ("GPT2", "GPTBigCode")},
    **{name: (name, OLD | {"rotary_dim": 8}) for name in ("GPTJ", "CodeGen")},
    "OPT": ("OPT", SMALL | {"ffn_dim": 320, "word_embed_proj_dim": 128}),
    "Bloom": ("Bloom", SMALL | {"n_layer": 3, "n_head": 8}),
    "Mpt": ("Mpt", {"vocab_size": 264, "d_model": 128, "n_layers": 3, "n_heads": 8}),
    "GPTNeo": ("GPTNeo", SMALL | {"num_layers": 3, "num_heads": 8, "attention_types": [[["global"], 3]]}),
    "GPT2 without dropout": ("GPT2", OLD | {"attn_pdrop": 0.0, "resid_pdrop": 0.0, "embd_pdrop": 0.0}),
    "GPTNeoX, one after the other": ("GPTNeoX", SMALL | {"use_parallel_residual": False}),
    "Mistral, a short window": ("Mistral", SMALL | {"sliding_window": 64}),
    "Gemma3Text, a short window": ("Gemma3Text", SMALL | {"sliding_window": 64}),
    "Falcon, new": ("Falcon", SMALL | {"new_decoder_architecture": True, "num_kv_heads": 2}),
}
"""What the shape knows, as transformers builds it; of widths that hide no term behind another."""
LONG = 192
KEPT = ("activations, ", "adapter in the compute dtype")


@pytest.mark.parametrize("again", [0, 2])
def test_autocasts_copies_of_a_large_adapter_are_kept_too(again: int) -> None:
    model, work = of_family("Llama", torch.bfloat16, rank=128)
    assert recompute(model.model, again) == again
    lines = table(work, Way("none", 1, again))
    planned = sum(line.bytes for line in lines if line.what.startswith((*KEPT, "inputs of ")))
    planned += LONG * work.shape.width * (4 + work.width)
    assert kept(model, [LONG]) == pytest.approx(planned, rel=0.05)
    assert sum(line.bytes for line in lines if line.what.startswith(KEPT[1])) > 0.1 * planned


def test_kept_memory_is_planned_with_the_holes_that_widened_4_bit_weights_leave() -> None:
    """Measured on SmolLM2-135M in bfloat16, 4 and 2 records of 256 tokens: 1,474 and 1,073 MiB."""
    smollm2 = {"model_type": "llama", "hidden_size": 576, "intermediate_size": 1536, "num_hidden_layers": 30}
    heads = {"num_attention_heads": 9, "num_key_value_heads": 3, "vocab_size": 49152, "tie_word_embeddings": True}
    shape = read_shape(smollm2 | heads)
    adapter = make_adapter(shape, 8, ["q_proj", "k_proj", "v_proj", "o_proj"])
    work = Work(shape, adapter, False, 2, 256, 411 << 20)
    for records, measured in ((4, 1474 << 20), (2, 1073 << 20)):
        assert peak(work, Way("nf4", records, 0, pooled=True)) == pytest.approx(measured, rel=0.03)


@pytest.mark.parametrize(("length", "again", "share"), [(4096, 0, 0.0), (8, 3, 1.0)])
def test_the_gradient_of_a_piece_is_counted_where_less_was_kept_than_it_takes(
    length: int, again: int, share: float
) -> None:
    shape = read_shape(SMALL | {"model_type": "llama"})
    adapter = make_adapter(shape, 512, [matrix.name for matrix in shape.matrices])
    lines = table(Work(shape, adapter, False, 4, length, 0), Way("none", 1, again))
    more = sum(line.bytes for line in lines if line.what.startswith("gradients of a piece"))
    assert more == pytest.approx(share * 4 * adapter.trained, rel=0.05)


def of_family(name: str, dtype: torch.dtype, rank: int = 4) -> tuple[LanguageModel, Work]:
    """A small model with an adapter on all of attention."""
    kind, settings = FAMILIES[name]
    config = getattr(transformers, f"{kind}Config")(**settings)
    torch.manual_seed(1)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype).requires_grad_(False)
    shape = read_shape(json.loads(config.to_json_string()))
    assert not shape.guesses
    targets = sorted({matrix.name for matrix in shape.matrices if matrix.source in ("attention", "heads")})
    peft.get_peft_model(model, peft.LoraConfig(r=rank, target_modules=targets))
    # In a model of three layers it would show that the first one's input needs no gradient.
    model.get_input_embeddings().register_forward_hook(lambda *seen: seen[2].requires_grad_(torch.is_grad_enabled()))
    work = Work(shape, make_adapter(shape, rank, targets), False, dtype.itemsize, LONG, 0)
    return LanguageModel(model.train(), dtype, lambda _: None, longest=LONG), work


IN_BFLOAT16 = (
    "Qwen3",
    "Gemma2",
    "Gemma3Text, a short window",
    "StableLm",
    "GPTNeoX",
    "Bloom",
    "GPTJ",
    "GPT2",
)
"""One of each kind that has something of its own there. Of a Falcon torch keeps less there than is planned."""


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, torch.float32) for name in FAMILIES] + [(name, torch.bfloat16) for name in IN_BFLOAT16],
)
def test_activations_of_every_family_are_what_autograd_keeps(name: str, dtype: torch.dtype) -> None:
    model, work = of_family(name, dtype)
    assert model.packs is (work.shape.kept.packs and (work.shape.window or LONG) >= LONG)
    lines = table(work, Way("none", 1, 0))
    planned = sum(line.bytes for line in lines if line.what.startswith(KEPT))
    planned += LONG * work.shape.width * (4 + work.width)
    assert kept(model, [LONG]) == pytest.approx(planned, rel=0.1)


@pytest.mark.parametrize(("width", "keys", "copies"), [(4, 2, True), (4, 8, False), (2, 2, False)])
def test_a_card_without_bfloat16_keeps_weights_of_attention_where_key_heads_are_fewer(
    width: int, keys: int, copies: bool
) -> None:
    """Arithmetic, no card: torch's fused kernels there take as many key heads as query heads, the plain one any."""
    heads, head_width, length = 8, 64, 512
    config = {
        "model_type": "llama",
        "hidden_size": heads * head_width,
        "num_hidden_layers": 1,
        "intermediate_size": 1024,
        "num_attention_heads": heads,
        "num_key_value_heads": keys,
        "vocab_size": 1000,
    }
    shape = read_shape(config)
    work = Work(shape, make_adapter(shape, 8, ["q_proj"]), True, width, length, 0)
    lines = {line.what: line.bytes for line in table(work, Way("int8", 1, 0))}
    fused = (2 * heads + 2 * keys) * head_width * width + 4 * heads
    more = 2 * (heads - keys) * head_width * 4 + heads * length * 4 if copies else 0
    assert lines["activations, attention"] == length * (fused + more)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("round", [1, 2])
def test_a_factor_that_rests_keeps_no_activations_and_has_no_gradient(
    workshop: Workshop, dtype: torch.dtype, round: int
) -> None:
    """Round 1 of rolora trains B, round 2 A."""
    model, work = language_model(workshop, dtype)
    manifest, _ = wire.read_adapter((workshop.adapter / wire.FILE_NAME).read_bytes())
    adapter = task_adapter(manifest, turn_of("rolora", [(t.name, t.size) for t in manifest], round))
    for name, parameter in model.model.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(("lora_B" in name) == (round == 1))
    lines = {line.what: line.bytes for line in table(replace(work, adapter=adapter), Way("int8", RECORDS, 0))}
    planned = sum(size for what, size in lines.items() if what.startswith("activations, "))
    once = RECORDS * LENGTH * work.shape.width * (4 + work.width)
    all_of_it = sum(line.bytes for line in table(work, Way("int8", RECORDS, 0)) if line.what in lines)
    assert kept(model) == pytest.approx(planned + once, rel=0.05)
    assert sum(lines.values()) < all_of_it
    trained = sum(p.numel() for n, p in model.model.named_parameters() if "lora_" in n and p.requires_grad)
    assert lines["gradients, float32"] == 4 * trained
    assert lines["optimizer state, 32 bits"] == 8 * trained


def test_weights_are_what_the_model_holds(workshop: Workshop) -> None:
    model, work = language_model(workshop, torch.float32)
    layers = [m for m in model.model.modules() if isinstance(m, bitsandbytes.nn.Linear8bitLt)]
    codes = sum(layer.weight.numel() + 4 * layer.scale.numel() for layer in layers)
    quantized, rest = weights(work, "int8")
    assert quantized.bytes == codes
    others = sum(p.numel() * 4 for n, p in model.model.named_parameters() if p.dtype != torch.int8 and "lora_" not in n)
    assert rest.bytes == others


LOADING = """
import sys
from dataclasses import replace
from pathlib import Path
import torch
from edge_client.training import loading
from edge_client.training.tokenizer import load_tokenizer
from edge_client.training.memory import Budget
loading.compute_dtype = lambda device: torch.float32
tokenizer = load_tokenizer(Path(sys.argv[1]))
budget = Budget(torch.device("cpu"), None)
budget.release()
before = budget.used()
Path("/proc/self/clear_refs").write_text("5")
base = loading.load_base(Path(sys.argv[1]), (sys.argv[2],), torch.device("cpu"), print, tokenizer)
print(before, budget.peak())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("quantization", ["int8", "nf4"])
def test_loading_holds_one_tensor_in_full_precision_at_a_time(tmp_path: Path, quantization: str) -> None:
    size = {"hidden_size": 1024, "intermediate_size": 2048, "num_hidden_layers": 6, "num_key_value_heads": 4}
    folder = save_model(tmp_path / "model", **size)
    command = [sys.executable, "-c", LOADING, str(folder), quantization]
    done = subprocess.run(command, capture_output=True, text=True, env=_environment(1))
    before, after = map(int, done.stdout.split()[-2:])
    whole = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    shape = read_shape(read_config(folder))
    held = shape.quantized if quantization == "int8" else shape.quantized * 33 // 64
    largest = 1024 * 2048
    assert whole > 200 * 2**20
    assert after - before < held + 13 * largest + 40 * 2**20 < whole


def test_a_child_tells_its_plan_and_how_good_it_was(workshop: Workshop, tmp_path: Path) -> None:
    """Of a model whose activations weigh as much as the libraries."""
    size = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 8}
    model = save_model(tmp_path / "model", **size)
    create(CreateJob(model=str(model), out=str(tmp_path / "new"), rank=8, target_modules=("q_proj", "v_proj")))
    larger = Workshop(tmp_path, model, tmp_path / "new")
    task = larger.task(steps=2, batch_size=32, max_length=200, train_on_inputs=True)
    job = larger.job(count=64, task=task)
    records = [{"instruction": "again " * 20, "response": "one " * 20} for _ in range(64)]
    Path(job.data.path).write_bytes(b"".join(msgspec.json.encode(record) + b"\n" for record in records))

    async def main() -> list[TrainEvent]:
        return [event async for event in run_training(job)]

    events = asyncio.run(main())
    done = events[-1]
    assert isinstance(done, Finished), done
    planned = next(event for event in events if isinstance(event, Planned))
    assert planned.predicted_bytes == pytest.approx(done.peak_bytes, rel=0.1)
    assert sum(size for _, size in planned.table) == planned.predicted_bytes
    assert any(isinstance(event, Notice) and "planned (" in event.message for event in events)


def test_recomputed_layers_shrink_the_prediction_as_they_shrink_the_child(workshop: Workshop) -> None:
    _, work = language_model(workshop, torch.float32)
    assert peak(work, Way("int8", RECORDS, 2)) < peak(work, Way("int8", RECORDS, 0))
