"""A new adapter changes nothing yet, is the same for the same seed, and tells nothing about this machine."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from tiny_model import save_model

from edge_client.training.create import create
from edge_client.training.failures import AdapterError, ModelError
from edge_client.training.job import CreateJob
from fedit_shared import adapter as wire
from fedit_shared.errors import UserError
from fedit_shared.messages import MODEL_FILE, read_model_file


def make(model: Path, out: Path, **options: Any) -> tuple[dict[str, Any], bytes]:
    create(CreateJob(model=str(model), out=str(out), **options))
    return json.loads((out / wire.CONFIG_NAME).read_text()), (out / wire.FILE_NAME).read_bytes()


def test_b_is_zero_and_a_is_drawn_within_its_bound(model_folder: Path, tmp_path: Path) -> None:
    config, data = make(model_folder, tmp_path / "new", rank=4, alpha=12, target_modules=("q_proj", "down_proj"))
    values = safetensors.numpy.load(data)
    assert (config["r"], config["lora_alpha"], config["target_modules"]) == (4, 12, ["down_proj", "q_proj"])
    assert len(values) == 2 * 2 * 2
    for name, value in values.items():
        if ".lora_B." in name:
            assert not value.any()
        else:
            bound = 1 / np.sqrt(value.shape[1])
            assert 0.9 * bound < np.abs(value).max() <= bound


def test_the_same_seed_gives_the_same_files_and_another_seed_others(model_folder: Path, tmp_path: Path) -> None:
    one, two, three = (make(model_folder, tmp_path / str(n), seed=seed) for n, seed in enumerate((1, 1, 2)))
    assert one == two
    assert one[1] != three[1]


def test_without_a_choice_pefts_own_modules_for_the_architecture_are_taken(model_folder: Path, tmp_path: Path) -> None:
    config, _ = make(model_folder, tmp_path / "new")
    assert config["target_modules"] == ["q_proj", "v_proj"]
    config, _ = make(model_folder, tmp_path / "all", target_modules=("all-linear",))
    assert len(config["target_modules"]) == 2 * 7


def test_the_model_is_named_without_a_path_and_its_files_are_pinned(model_folder: Path, tmp_path: Path) -> None:
    make(model_folder, tmp_path / "new")
    ref = read_model_file((tmp_path / "new" / MODEL_FILE).read_bytes())
    assert ref.id == "tiny-llama"
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= set(ref.files)
    for path in (tmp_path / "new").iterdir():
        assert str(model_folder.parent).encode() not in path.read_bytes()


def test_modules_that_are_not_there_or_not_linear_are_refused(model_folder: Path, tmp_path: Path) -> None:
    for modules in (("query_key_value",), ("embed_tokens",), ("input_layernorm",)):
        with pytest.raises(AdapterError) as caught:
            make(model_folder, tmp_path / "new", target_modules=modules)
        assert "\n" not in str(caught.value)
        assert not (tmp_path / "new").exists()


def test_a_model_that_peft_knows_no_modules_for_asks_for_them(tmp_path: Path) -> None:
    model = save_model(tmp_path / "doge", "Doge")
    with pytest.raises(AdapterError, match="target_modules") as caught:
        make(model, tmp_path / "new")
    assert "--target-modules" in caught.value.advice


def test_nothing_is_overwritten(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis").write_text("x")
    with pytest.raises(UserError, match="exists already"):
        make(model_folder, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis"]


def test_a_folder_that_is_not_there_or_no_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        make(tmp_path / "absent", tmp_path / "new")
    with pytest.raises(ModelError, match="no model"):
        make(tmp_path, tmp_path / "new")
