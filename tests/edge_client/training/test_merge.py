"""A merged model is base and adapter in one: transformers alone loads it, and it computes what PEFT computes."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from tiny_model import save_model
from transformers import AutoModelForCausalLM, AutoTokenizer

from edge_client.cli import main
from edge_client.training.create import create
from edge_client.training.failures import AdapterError
from edge_client.training.job import CreateJob, MergeJob
from edge_client.training.merge import merge
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError

TOKENS = torch.arange(5, 45).unsqueeze(0)


def drawn(folder: Path, model: Path, *targets: str, **changes: Any) -> Path:
    """An adapter for ``model`` with values of some size."""
    create(CreateJob(model=str(model), out=str(folder), rank=4, target_modules=targets, seed=1))
    manifest, _ = wire.read_adapter((folder / wire.FILE_NAME).read_bytes())
    vector = np.random.default_rng(3).normal(scale=0.2, size=wire.size(manifest)).astype(np.float32)
    (folder / wire.FILE_NAME).write_bytes(wire.write_adapter(manifest, vector))
    config = (folder / wire.CONFIG_NAME).read_text()
    for name, value in changes.items():
        config = config.replace(f'"{name}": false', f'"{name}": {value}')
    (folder / wire.CONFIG_NAME).write_text(config)
    return folder


def merged(model: Path, adapter: Path, out: Path) -> Path:
    merge(MergeJob(model=str(model), adapter=str(adapter), out=str(out)), lambda here, total: None)
    return out


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(TOKENS).logits
    return found


def by_peft(model: Path, adapter: Path) -> torch.Tensor:
    return logits(PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(model), adapter))


@pytest.mark.parametrize(
    ("kind", "targets", "changes"),
    [
        ("Llama", ("q_proj", "k_proj", "o_proj", "up_proj", "down_proj"), {}),
        ("Llama", ("v_proj",), {"use_rslora": "true"}),
        ("GPT2", ("c_attn", "c_proj"), {}),  # stored transposed, two of them square
    ],
)
def test_a_merged_model_gives_the_logits_of_base_and_adapter(
    kind: str, targets: tuple[str, ...], changes: dict[str, str], tmp_path: Path
) -> None:
    model = save_model(tmp_path / "base", kind)
    adapter = drawn(tmp_path / "adapter", model, *targets, **changes)
    out = merged(model, adapter, tmp_path / "out")
    found = logits(AutoModelForCausalLM.from_pretrained(out))
    torch.testing.assert_close(found, by_peft(model, adapter), rtol=1e-4, atol=1e-5)
    assert (found - logits(AutoModelForCausalLM.from_pretrained(model))).abs().max() > 0.1
    assert AutoTokenizer.from_pretrained(out).chat_template == AutoTokenizer.from_pretrained(model).chat_template
    assert not list(out.glob("adapter_*"))


def test_only_adapted_weights_change_and_shards_and_dtypes_stay(tmp_path: Path) -> None:
    whole = AutoModelForCausalLM.from_pretrained(save_model(tmp_path / "base")).to(torch.bfloat16)
    sharded = tmp_path / "sharded"
    shutil.copytree(tmp_path / "base", sharded)
    (sharded / "model.safetensors").unlink()
    whole.save_pretrained(sharded, max_shard_size="60KB")
    adapter = drawn(tmp_path / "adapter", sharded, "q_proj")
    out = merged(sharded, adapter, tmp_path / "out")
    shards = sorted(path.name for path in sharded.glob("*.safetensors"))
    assert len(shards) > 1
    assert sorted(path.name for path in out.glob("*.safetensors")) == shards
    changed = []
    for name in shards:
        before, after = load_file(sharded / name), load_file(out / name)
        assert before.keys() == after.keys()
        assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
        changed += [key for key in before if not torch.equal(before[key], after[key])]
    assert sorted(changed) == [f"model.layers.{n}.self_attn.q_proj.weight" for n in range(2)]
    found, wanted = logits(AutoModelForCausalLM.from_pretrained(out).float()), by_peft(sharded, adapter)
    assert (found - wanted.float()).norm() < 0.02 * wanted.norm()


def test_what_cannot_be_merged_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    model = save_model(tmp_path / "base")
    small = save_model(tmp_path / "small", num_hidden_layers=1)
    narrow = save_model(tmp_path / "narrow", hidden_size=32)
    tied = save_model(tmp_path / "tied", tie_word_embeddings=True)
    adapter = drawn(tmp_path / "adapter", model, "q_proj")
    head = drawn(tmp_path / "head", tied, "lm_head")
    before = sorted(path.name for path in tmp_path.iterdir())
    for base, change, said in (
        (small, adapter, "layers.1"),
        (narrow, adapter, "shape"),
        (tied, head, "embedding"),
        (model, model, "no adapter"),
    ):
        with pytest.raises(AdapterError, match=said):
            merged(base, change, tmp_path / "out")
    with pytest.raises(UserError, match="exists already"):
        merged(model, adapter, tied)
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_the_command_makes_the_same_folder_in_its_child(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], model_folder: Path, adapter_folder: Path
) -> None:
    with pytest.raises(SystemExit) as end:
        main(["merge", str(model_folder), str(adapter_folder), str(tmp_path / "out")])
    assert end.value.code == 0
    assert "4 of them changed" in capsys.readouterr().out
    same = merged(model_folder, adapter_folder, tmp_path / "same")
    for path in same.iterdir():
        assert (tmp_path / "out" / path.name).read_bytes() == path.read_bytes()
