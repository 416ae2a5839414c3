"""``fedit-client plan`` needs nothing of a model but its config.json, and says what it found."""

import json
from pathlib import Path

import pytest

from edge_client.cli import main

CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": True,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def run(*arguments: str | Path, command: str = "plan") -> int:
    with pytest.raises(SystemExit) as caught:
        main([command, *map(str, arguments)])
    assert isinstance(caught.value.code, int)
    return caught.value.code


def test_the_table_sums_to_the_peak_and_the_choice_is_explained(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--model", folder, "--memory", "6GiB", "--device", "cpu") == 0
    lines = capsys.readouterr().out.splitlines()
    rows = [line for line in lines if line.startswith(" ")]
    sizes = [int(row.split()[0].replace(",", "")) for row in rows]
    assert sum(sizes[:-1]) == sizes[-1] <= 6 * 2**30
    text = "\n".join(lines)
    assert "Plan: 8 bits, " in text
    assert "A step stays 16 records." in text
    assert "Less: " in text
    assert "More: " in text


def test_without_a_card_it_asks_what_to_plan_for(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # where no nvidia-smi is
    assert run("--model", folder, "--device", "cuda") == 2
    told = capsys.readouterr().err
    assert "No NVIDIA card is found here" in told
    assert "--memory 8GiB" in told


def test_json_tells_programs_the_same(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", folder, "--memory", "24GiB", "--device", "cuda", "--batch-size", "4", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["device"] == "cuda"
    assert answer["peak_bytes"] == sum(line["bytes"] for line in answer["table"])
    assert answer["way"] == {
        "quantization": "int8", "micro_batch": 4, "recomputed": 0, "optimizer_bits": 32, "pooled": False,
        "starved": False,
    }  # fmt: skip
    assert answer["larger"] is None
    assert answer["smaller"]["peak_bytes"] < answer["peak_bytes"]


def test_records_are_planned_no_longer_than_the_model_has_positions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = {"model_type": "gpt2", "n_embd": 768, "n_layer": 12, "n_head": 12, "vocab_size": 50257}
    (tmp_path / "config.json").write_text(json.dumps(config | {"n_positions": 1024}))
    options = ("--model", tmp_path, "--memory", "24GiB", "--device", "cpu")
    assert run(*options, "--max-length", "1100") == 0
    said = capsys.readouterr().out
    assert "records of up to 1024 tokens" in said
    assert "Cut: records to 1024 tokens" in said
    assert run(*options, "--max-length", "1100", "--json") == 0
    cut = json.loads(capsys.readouterr().out)
    assert run(*options, "--max-length", "1024", "--json") == 0
    assert json.loads(capsys.readouterr().out) == cut


def test_what_does_not_fit_is_told_with_the_smallest_budget_that_would(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--model", folder, "--memory", "1GiB", "--device", "cpu") == 2
    error = capsys.readouterr().err
    assert "does not fit into 1.00 GiB" in error
    assert "It fits into " in error
    size = error.split("It fits into ")[1].split(":")[0].replace(" ", "")
    more = f"{float(size.removesuffix('GiB')) + 0.01:.2f}GiB"
    assert run("--model", folder, "--memory", more, "--device", "cpu") == 0


def test_what_is_no_model_is_told_in_one_line_with_advice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", tmp_path / "nowhere") == 2
    assert "There is no folder" in capsys.readouterr().err
    assert run("--model", tmp_path) == 2
    assert "config.json" in capsys.readouterr().err


def test_layers_that_the_model_has_not_are_refused_with_those_that_it_has(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--model", folder, "--target-modules", "c_attn") == 2
    assert "It has: q_proj" in capsys.readouterr().err


def test_doctor_with_a_model_plans_as_plan_does(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--model", folder, "--memory", "6GiB") == 0
    planned = capsys.readouterr().out
    assert run("--model", folder, "--memory", "6GiB", command="doctor") == 0
    assert capsys.readouterr().out.endswith(planned)
