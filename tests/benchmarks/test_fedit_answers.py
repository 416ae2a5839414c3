"""What the exported arms answer is kept with what the federation has less or more, and who gives references a higher
likelihood."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluations import claimed

from benchmarks.fedit.answers import answers_file, keep_answers, section
from benchmarks.fedit.table import NAME
from edge_client.data import Record
from edge_client.evaluation.kept import Answer, Arm, Kept, Loss
from edge_client.evaluation.report import as_data, summarize
from edge_client.evaluation.shares import share
from fedit_shared.errors import UserError

COUNT = 40
ARMS = ("base", "federated", "local-0")
SAID = {"base": "no", "federated": "one two three", "local-0": "one"}
LOSS = {"base": 20.0, "federated": 10.0, "local-0": 10.0}
RECORDS = [
    Record(instruction=f"Say {n}", context="", response="one two three", category="ab"[n % 2]) for n in range(COUNT)
]


def evaluation(place: Path, arms: tuple[str, ...] = ARMS, answered: int = 20) -> Path:
    """What ``fedit-client evaluate --out`` leaves behind."""
    kept = claimed(place, COUNT, [Arm(name=name) for name in arms], data="d", max_new_tokens=8, quantization="none")
    for arm in arms:
        kept.losses.add(Loss(arm=arm, place=n, category="ab"[n % 2], loss=LOSS[arm], tokens=10) for n in range(COUNT))
        kept.answers.add(
            Answer(arm=arm, place=n, record=RECORDS[n], text=SAID[arm], tokens=3, ended=True) for n in range(answered)
        )
    results = summarize(kept, arms, RECORDS, range(answered), None, resamples=200, seed=0)
    (place / "results.json").write_text(json.dumps(results))
    return place


def test_every_arm_is_held_against_the_federation_whichever_was_named_first(tmp_path: Path) -> None:
    file = keep_answers(evaluation(tmp_path / "e"), "f.jsonl", tmp_path / "kept.json")
    result: dict[str, Any] = json.loads(file.read_text())
    assert result["arms"]["federated"]["rouge_l"]["value"] == 1
    assert result["differences"]["base - federated"]["rouge_l"] == {"value": -1, "low": -1, "high": -1}
    assert result["differences"]["local-0 - federated"]["rouge_l"]["value"] == -0.5
    assert result["differences"]["base - federated"]["loss"]["value"] == 1
    assert [result["likelihood"]["base"][key]["value"] for key in ("win", "tie", "loss")] == [1, 0, 0]
    assert [result["likelihood"]["local-0"][key]["value"] for key in ("win", "tie", "loss")] == [0, 1, 0]
    told = section(result)
    assert "to 20 records of f.jsonl, greedy, of up to 8 tokens, quantization none" in told
    assert "| local-0 | 0 of 20 | 0.500 (0.500 to 0.500) | -0.500 (-0.500 to -0.500) |" in told
    assert told.index("| base |") < told.index("| federated |") < told.index("| local-0 |")
    assert section(None) == ""


def test_when_it_was_kept_is_not_told_as_when_the_answers_were_made(tmp_path: Path) -> None:
    result = json.loads(keep_answers(evaluation(tmp_path / "e"), "f.jsonl", tmp_path / "kept.json").read_text())
    assert set(result["kept"]) == {"date", "commit"}
    assert "machine" not in result
    told = section(result)
    assert f"Put together on {result['kept']['date']} at commit {result['kept']['commit']}; when, where " in told
    assert "Measured on" not in told


def test_it_is_told_how_many_answers_were_cut_off(tmp_path: Path) -> None:
    result = json.loads(keep_answers(evaluation(tmp_path / "e"), "f.jsonl", tmp_path / "kept.json").read_text())
    result["arms"]["base"]["answers"]["cut_off"] = 14
    assert "| base | 14 of 20 |" in section(result)


def test_the_kept_answers_have_shares_whose_intervals_follow_from_their_counts() -> None:
    result = json.loads(answers_file(NAME).read_text(encoding="utf-8"))
    for found in result["likelihood"].values():
        for group in (found, *found["by_category"].values()):
            for verdict in ("win", "tie", "loss"):
                records, hits = group["records"], round(group[verdict]["value"] * group["records"])
                wanted = as_data(share(np.repeat([1.0, 0.0], [hits, records - hits])))
                assert group[verdict] == wanted
    for arm in result["arms"].values():
        assert arm["exact_match"]["high"] > 0.5  # one record says nothing


def test_an_arm_that_did_not_answer_is_judged_by_likelihood_alone(tmp_path: Path) -> None:
    folder = evaluation(tmp_path / "e")
    results = summarize(Kept(folder), ("base", "federated"), RECORDS, range(20), None, resamples=200, seed=0)
    (folder / "results.json").write_text(json.dumps(results))
    told = section(json.loads(keep_answers(folder, "f.jsonl", tmp_path / "kept.json").read_text()))
    assert "| local-0 |  |  |  |  |  | +0.000 (+0.000 to +0.000) | 0.00 (0.00 to 0.09) | 1.00 (0.91 to 1.00) |" in told
    assert "+1.000 (+1.000 to +1.000) | 1.00 (0.91 to 1.00) | 0.00 (0.00 to 0.09) |" in told


def test_losses_alone_or_arms_without_the_federation_are_no_answers(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (
        tmp_path / "empty",
        evaluation(tmp_path / "silent", answered=0),
        evaluation(tmp_path / "others", ("base", "local-0")),
    ):
        with pytest.raises(UserError, match="holds no answers of an arm named federated"):
            keep_answers(folder, "f.jsonl", tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()
