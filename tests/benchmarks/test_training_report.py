"""The benchmark of the trainer: the line that it ends with, and the rows that it measures."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training import __main__ as main
from benchmarks.training import heads, ours, shepherd
from benchmarks.training.__main__ import summary
from benchmarks.training.random_llama import SIZES
from benchmarks.training.scenario import GB, TOO_LATE, Result, Row, rows
from benchmarks.training.stage import Stage
from benchmarks.training.table import SECTION, newest, section
from edge_client.data import DataSource
from edge_client.hardware import find_hardware
from edge_client.training import TrainJob
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings

CPU = rows("cpu", 20)


def done(number: int, rate: float, peak: int, predicted: int | None) -> Result:
    return Result(CPU[number], "done", rate, peak, predicted, losses=[2.0, 1.0])


def test_a_cpus_rows_are_shepherds_and_ours_at_four_budgets_on_the_same_work() -> None:
    assert [(row.system, row.quantization, row.budget) for row in CPU] == [
        ("shepherd", "int8", None),
        *(("ours", "int8", budget * GB // 10) for budget in (12, 17, 24, 48)),
        ("ours", "nf4", 12 * GB // 10),
    ]
    assert len({(row.model, row.length, row.steps) for row in CPU}) == 1


def test_a_cards_rows_hold_both_lengths_and_quantizations_at_every_budget() -> None:
    large = {
        (row.quantization, row.length, row.budget)
        for row in rows("cuda", 20)
        if row.model == "llama-7b" and row.system == "ours"
    }
    asked = {(q, n, b * GB) for q in ("int8", "nf4") for n in (512, 2048) for b in (8, 12, 16, 24)}
    assert large == asked | {("int8", 512, 95 * GB // 10)}


def test_a_7b_model_of_drawn_weights_goes_the_way_of_a_cards_rows_in_both_systems_and_is_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = {"hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": 2, "num_attention_heads": 4}
    monkeypatch.setitem(SIZES, "llama-7b", SIZES["llama-7b"] | small | {"num_key_value_heads": 4, "vocab_size": 300})
    chosen = [row for row in rows("cuda", 1) if row.model == "llama-7b"]
    theirs = next(row for row in chosen if row.system == "shepherd")
    mine = next(row for row in chosen if row.system == "ours")
    stage = Stage(tmp_path, tmp_path, None)

    def measured(row: Row) -> Result:
        here = replace(row, device="cpu", budget=row.budget and 2 * GB)
        return (ours if row.system == "ours" else shepherd).measure(here, stage.job(here), 300.0)

    results = [measured(theirs), measured(mine)]
    assert [result.outcome for result in results] == ["done"] * 2
    assert results[1].loss == pytest.approx(results[0].loss, abs=0.01)
    assert sum(path.stat().st_size for path in (tmp_path / "llama-7b").glob("*.safetensors")) < 1000


def test_losses_from_the_hidden_states_on_are_compared_and_a_kernel_that_is_not_here_says_so() -> None:
    own, *others = heads.compare("cpu", tokens=8, width=16, words=50, times=1)
    assert own["outcome"] == "done"
    assert own["loss"] == pytest.approx(math.log(50), abs=0.3)
    assert [each["name"] for each in others] == ["liger-kernel", "cut-cross-entropy"]
    assert all(each["outcome"] == "done" or "Error" in each["outcome"] for each in others)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr(sys, "argv", ["training", *arguments])
    main.main()


def test_when_the_time_is_up_every_row_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run(monkeypatch, "--minutes", "1e-9", "--cache", str(tmp_path), "--out", str(tmp_path / "figures.json"))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [row["outcome"] for row in last["rows"]] == [TOO_LATE] * 5
    assert not list(tmp_path.glob("llama*")), "nothing was made for them"


@pytest.mark.parametrize("measure", [ours.measure, shepherd.measure])
def test_a_row_that_is_at_work_when_the_time_is_up_is_ended(
    tmp_path: Path, measure: Callable[[Row, TrainJob, float], Result]
) -> None:
    task = TaskSpec(
        name="t",
        model=ModelRef(id="m"),
        adapter_config="{}",
        tensors=(TensorSpec(name="a", shape=(1, 1)),),
        training=TrainingSettings(batch_size=4, steps=1, epochs=None),
    )
    job = TrainJob(task=task, adapter="", data=DataSource(path=""), work=str(tmp_path / "work"))
    assert measure(CPU[0], job, 0.1).outcome == TOO_LATE


def test_rows_that_are_measured_are_kept_whatever_ends_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(row: Row, stage: Stage, end: float) -> Result:
        if row.system == "shepherd":
            return Result(row, "done", 100.0, GB)
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "_measured", measured)
    out = tmp_path / "figures.json"
    with pytest.raises(KeyboardInterrupt):
        run(monkeypatch, "--cache", str(tmp_path), "--out", str(out))
    assert [result["tokens_per_s"] for result in json.loads(out.read_text())["results"]] == [100.0]


def test_a_model_that_cannot_be_fetched_leaves_its_rows_empty_and_is_tried_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tries = []

    def fail(*_: object) -> Path:
        tries.append(1)
        raise UserError("No network.", advice="Find one.")

    monkeypatch.setattr("benchmarks.training.stage.ensure_model", fail)
    run(monkeypatch, "--cache", str(tmp_path), "--out", str(tmp_path / "figures.json"))
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["outcome"] for row in last["rows"]} == {"No network. Find one."}
    assert len(tries) == 1


def test_the_line_has_shepherds_figures_and_ours_against_them() -> None:
    line = summary([done(0, 100.0, 5 * GB, None), done(1, 120.0, GB, GB + GB // 20)])
    assert line["baseline"] == {"tokens_per_s": 100.0, "peak_gb": 5.0}
    (row,) = line["rows"]
    assert (row["budget_gb"], row["tokens_per_s"], row["peak_gb"], row["predicted_gb"]) == (1.2, 120.0, 1.0, 1.05)
    assert (row["speed_ratio"], row["loss"]) == (1.2, 1.5)


def test_a_row_that_ran_out_of_memory_stays_in() -> None:
    lost = Result(CPU[1], "One record does not fit.")
    line = summary([done(0, 100.0, 5 * GB, None), lost, done(2, 150.0, GB, GB)])
    assert [row["speed_ratio"] for row in line["rows"]] == [None, 1.5]
    assert line["rows"][0]["outcome"] == "One record does not fit."


def test_a_row_is_compared_with_its_own_kind_only() -> None:
    other = Result(replace(CPU[0], length=512), "done", 10.0, GB)
    assert summary([other, done(1, 120.0, GB, GB)])["rows"][0]["speed_ratio"] is None


@pytest.mark.skipif(find_hardware().accelerator == "cuda", reason="there is a card here")
def test_without_a_card_its_rows_stay_empty(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks.training", "--device", "cuda", "--cache", str(tmp_path)]
    out = tmp_path / "figures.json"
    ran = subprocess.run([*command, "--out", str(out)], capture_output=True, text=True)
    last = json.loads(ran.stdout.splitlines()[-1])
    assert last["baseline"] == {"tokens_per_s": None, "peak_gb": None}
    assert {row["tokens_per_s"] for row in last["rows"]} == {None}
    assert "torch" in json.loads(out.read_text())["machine"]["versions"]


def test_the_page_shows_the_newest_result_file() -> None:
    kept = json.loads(newest().read_text())
    assert SECTION.shows(section(kept))


def test_the_table_keeps_a_row_that_ran_out_of_memory_with_its_reason() -> None:
    kept = json.loads(newest().read_text())
    before = section(kept).count(" × |")
    kept["results"][1] |= {"outcome": "One record does not fit.", "tokens_per_s": None, "peak": None, "losses": []}
    lost = next(line for line in section(kept).splitlines() if "1.2 GB" in line)
    assert "One record does not fit." in lost
    assert section(kept).count(" × |") == before - 1
