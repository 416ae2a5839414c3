"""The benchmark of the trainer: the line that it ends with, and the rows that it measures."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from benchmarks.training.__main__ import summary
from benchmarks.training.scenario import GB, Result, rows
from benchmarks.training.table import SECTION, newest, section
from edge_client.hardware import find_hardware

CPU = rows("cpu", 20)


def done(number: int, rate: float, peak: int, predicted: int | None) -> Result:
    return Result(CPU[number], "done", rate, peak, predicted, losses=[2.0, 1.0])


def test_a_cpus_rows_are_shepherds_and_ours_at_four_budgets_on_the_same_work() -> None:
    assert [(row.system, row.budget) for row in CPU] == [
        ("shepherd", None),
        *(("ours", budget * GB // 10) for budget in (12, 17, 24, 48)),
    ]
    assert len({(row.model, row.quantization, row.length, row.steps) for row in CPU}) == 1


def test_a_cards_rows_hold_both_lengths_and_quantizations_at_every_budget() -> None:
    large = {
        (row.quantization, row.length, row.budget)
        for row in rows("cuda", 20)
        if row.model == "llama-7b" and row.system == "ours"
    }
    assert large == {(q, n, b * GB) for q in ("int8", "nf4") for n in (512, 2048) for b in (8, 12, 16, 24)}


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
    kept["results"][1] |= {"outcome": "One record does not fit.", "tokens_per_s": None, "peak": None, "losses": []}
    lost = next(line for line in section(kept).splitlines() if "1.2 GB" in line)
    assert "One record does not fit." in lost
    assert section(kept).count(" × |") == 3
