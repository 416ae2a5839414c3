"""Only the federation's model is trained on: its files are hashed, formats that can carry code are never opened."""

import shutil
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
import torch

from edge_client.training.create import create
from edge_client.training.failures import ModelError
from edge_client.training.job import CreateJob
from edge_client.training.loading import load_base
from edge_client.training.model_files import check_files, describe_files, find_model
from fedit_shared.errors import FeditError
from fedit_shared.messages import ModelRef


@pytest.fixture
def copy(model_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model_folder, tmp_path / "copy"))


def test_all_that_decides_what_the_model_computes_is_pinned(model_folder: Path) -> None:
    ref = describe_files(model_folder, "tiny", "abc")
    assert (ref.id, ref.revision) == ("tiny", "abc")
    assert set(ref.files) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
        "chat_template.jinja",
    }
    check_files(model_folder, ref)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "chat_template.jinja"])
def test_one_changed_byte_is_found(copy: Path, name: str) -> None:
    ref = describe_files(copy, "tiny", "")
    data = bytearray((copy / name).read_bytes())
    data[-2] ^= 1
    (copy / name).write_bytes(data)
    with pytest.raises(ModelError, match="is not the file") as caught:
        check_files(copy, ref)
    assert name in caught.value.message
    assert "tiny" in caught.value.advice
    (copy / name).unlink()
    with pytest.raises(ModelError, match=f"lacks {name}"):
        check_files(copy, ref)


def test_a_name_that_leads_out_of_the_folder_is_refused(model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").write_bytes(b"x")
    ref = ModelRef(id="tiny", files={f"../{tmp_path.name}/outside": bytes(32)})
    with pytest.raises(ModelError, match="lacks"):
        check_files(model_folder, ref)


def test_what_is_no_model_is_told_in_one_line(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no folder"):
        find_model(ModelRef(id="x"), str(tmp_path / "absent"))
    with pytest.raises(ModelError, match=r"no config\.json"):
        find_model(ModelRef(id="x"), str(tmp_path))
    torch.save({}, copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no weights in safetensors format"):
        find_model(ModelRef(id="x"), str(copy))


@pytest.mark.parametrize("name", ["nobody/no-such-model", "not a hub id!", "../up", "a/b/c"])
def test_a_hub_id_that_cannot_be_had_is_told_in_one_line(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError) as caught:
        find_model(ModelRef(id=name), None)
    assert name in caught.value.message
    assert "\n" not in str(caught.value)
    assert caught.value.advice


def said_nothing(message: str) -> None:
    raise AssertionError(message)


def test_eight_bit_weights_are_loaded_and_frozen(model_folder: Path) -> None:
    base = load_base(model_folder, ("int8",), torch.device("cpu"), said_nothing)
    assert (base.quantization, base.kernel) == ("int8", "weight-only")
    layer = base.model.model.layers[0].mlp.up_proj
    assert layer.weight.dtype == torch.int8
    assert not any(parameter.requires_grad for parameter in base.model.parameters())


def test_a_way_that_fails_gives_way_to_the_next_one_allowed_and_says_so(copy: Path) -> None:
    said: list[str] = []
    config = msgspec.json.decode((copy / "config.json").read_bytes())
    # Neither 8 nor 4 bits can be made of a model that says it was quantized in another way already.
    config["quantization_config"] = {"quant_method": "fp8"}
    (copy / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(ModelError, match="in 8 bits") as caught:
        load_base(copy, ("int8",), torch.device("cpu"), said.append)
    assert "allows no other way" in caught.value.advice
    assert said == []
    with pytest.raises(ModelError):
        load_base(copy, ("int8", "nf4"), torch.device("cpu"), said.append)
    assert len(said) == 1
    assert "It is loaded in 4 bits (nf4) instead, as the federation allows." in said[0]


def test_a_model_without_a_layer_to_quantize_is_never_called_quantized(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = {name: value for name, value in load_file(copy / "model.safetensors").items() if ".layers." not in name}
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    config = msgspec.json.decode((copy / "config.json").read_bytes()) | {"num_hidden_layers": 0}
    (copy / "config.json").write_bytes(msgspec.json.encode(config))
    with pytest.raises(ModelError, match="no layer in it to quantize"):
        load_base(copy, ("int8",), torch.device("cpu"), said_nothing)
    said: list[str] = []
    assert load_base(copy, ("int8", "none"), torch.device("cpu"), said.append).quantization == "none"
    assert "It is loaded unquantized instead, as the federation allows." in said[0]


def test_missing_weights_are_an_error_not_random_numbers(copy: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(copy / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"weights are missing.*up_proj"):
        load_base(copy, ("int8",), torch.device("cpu"), said_nothing)


@pytest.mark.parametrize(
    ("name", "content"),
    [("config.json", b"{"), ("model.safetensors", b"\1\2\3"), ("config.json", b'{"model_type": "unheard-of"}')],
)
def test_broken_files_are_told_in_one_line(copy: Path, name: str, content: bytes) -> None:
    (copy / name).write_bytes(content)
    with pytest.raises(ModelError) as caught:
        load_base(copy, ("int8",), torch.device("cpu"), said_nothing)
    assert "\n" not in caught.value.message


@pytest.mark.parametrize(
    ("file", "auto_map"),
    [
        ("config.json", {"AutoConfig": "code.Theirs"}),
        ("config.json", {"AutoModelForCausalLM": "code.Theirs"}),
        ("tokenizer_config.json", {"AutoTokenizer": ["code.Theirs", "code.Theirs"]}),
    ],
    ids=["config", "model", "tokenizer"],
)
def test_code_that_lies_beside_a_model_is_never_run(
    copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str, auto_map: dict[str, object]
) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "cache"))
    ran = tmp_path / "ran"
    (copy / "code.py").write_text(f"open({str(ran)!r}, 'w').close()\nclass Theirs:\n    pass\n")
    config = msgspec.json.decode((copy / file).read_bytes()) | {"auto_map": auto_map}
    (copy / file).write_bytes(msgspec.json.encode(config))
    with suppress(FeditError):
        load_base(copy, ("none",), torch.device("cpu"), said_nothing)
    with suppress(FeditError):
        create(CreateJob(model=str(copy), out=str(tmp_path / "new"), rank=1, target_modules=("q_proj",)))
    assert not ran.exists()


def test_a_servers_model_name_is_never_taken_for_a_path(model_folder: Path) -> None:
    with pytest.raises(ModelError, match="neither a folder nor a model's name"):
        find_model(ModelRef(id=str(model_folder.absolute())), None)


def test_an_adapter_beside_the_model_is_refused_since_it_would_be_loaded_in_its_place(copy: Path) -> None:
    (copy / "adapter_config.json").write_text('{"base_model_name_or_path": "elsewhere"}')
    with pytest.raises(ModelError, match="holds an adapter"):
        find_model(ModelRef(id="m"), str(copy))
