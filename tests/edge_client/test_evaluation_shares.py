"""Intervals of shares hold the true one about as often as they say, also where it is rare and records are few."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from evaluations import claimed

from edge_client.data import Record
from edge_client.evaluation import tasks
from edge_client.evaluation.kept import Answer, Arm, Done
from edge_client.evaluation.lines import Lines
from edge_client.evaluation.report import as_data, summarize
from edge_client.evaluation.shares import less, share
from edge_client.evaluation.statistics import Interval, Values, enough
from edge_client.evaluation.words import interval
from edge_client.inference import TaskFigure


def hits(records: int, count: int) -> Values:
    return np.repeat([1.0, 0.0], [count, records - count])


def test_none_or_all_of_some_records_still_leave_a_width() -> None:
    assert share(hits(80, 0)) == pytest.approx((0.0, 0.0, 0.04582), abs=1e-5)
    assert share(hits(1, 1)) == pytest.approx((1.0, 0.20655, 1.0), abs=1e-5)
    assert share(hits(10, 5)) == pytest.approx((0.5, 0.23659, 0.76341), abs=1e-5)  # Wilson's, in any table
    assert math.isnan(share(hits(0, 0)).value)


@pytest.mark.parametrize(("true", "least"), [(0.02, 0.92), (0.05, 0.92), (0.3, 0.92), (0.5, 0.92), (0.99, 0.90)])
def test_a_share_is_held_in_about_95_of_100_cases_of_few_records(true: float, least: float) -> None:
    records = 40
    chances = [math.comb(records, k) * true**k * (1 - true) ** (records - k) for k in range(records + 1)]
    held = [found.low <= true <= found.high for found in (share(hits(records, k)) for k in range(records + 1))]
    assert least <= sum(chance for chance, here in zip(chances, held, strict=True) if here) <= 1


def test_the_paired_difference_is_newcombes() -> None:
    one, other = np.repeat([1.0, 1.0, 0.0], [36, 12, 2]), np.repeat([1.0, 0.0, 1.0], [36, 12, 2])
    assert less(one, other) == pytest.approx((0.2, 0.0569, 0.3404), abs=1e-4)
    assert less(other, one) == pytest.approx((-0.2, -0.3404, -0.0569), abs=1e-4)
    same = less(hits(24, 0), hits(24, 0))
    assert same.low < same.value == 0 < same.high


def test_a_paired_difference_is_held_in_about_95_of_100_cases() -> None:
    random, held, cases = np.random.default_rng(1), 0, 1500
    cells = np.array([0.05, 0.10, 0.02, 0.83])  # both, one only, the other only, neither
    for counts in random.multinomial(60, cells, cases):
        both, only, off, neither = counts
        one = np.repeat([1.0, 1.0, 0.0, 0.0], counts)
        other = np.repeat([1.0, 0.0, 1.0, 0.0], [both, only, off, neither])
        found = less(one, other)
        held += found.low <= 0.08 <= found.high
    assert 0.92 <= held / cases <= 0.99


def test_a_bootstrap_of_few_records_has_no_bounds() -> None:
    found = Interval(0.4, 0.3, 0.5)
    assert as_data(enough(found, 10)) == {"value": 0.4, "low": 0.3, "high": 0.5}
    assert as_data(enough(found, 9)) == {"value": 0.4}
    assert interval({"value": 0.4}, "loss", 2) == "loss 0.40"


def test_a_report_tells_shares_with_a_width_and_of_few_records_figures_alone(tmp_path: Path) -> None:
    records = [Record(instruction=f"Say {n}", context="", response="yes", category="a") for n in range(6)]
    kept = claimed(tmp_path / "e", 6, [Arm(name="base"), Arm(name="tuned")])
    for name, place in product(("base", "tuned"), range(6)):
        kept.answers.add([Answer(arm=name, place=place, record=records[place], text="no", tokens=1, ended=True)])
    found = summarize(kept, ("base", "tuned"), records, range(6), None, resamples=200, seed=0)
    assert found["arms"]["base"]["exact_match"]["low"] == 0
    assert found["arms"]["base"]["exact_match"]["high"] > 0.3
    assert found["differences"]["tuned - base"]["exact_match"]["high"] > 0.3
    assert found["arms"]["base"]["rouge_l"] == {"value": 0}


def test_a_tasks_accuracy_is_a_share_and_another_metric_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "find_spec", lambda name: name)  # nothing is asked of the harness here
    done: Lines[Done] = Lines(tmp_path / "tasks.jsonl", Done)
    for name, right in (("base", 0), ("tuned", 0)):
        accuracy = TaskFigure(task="t", metric="acc", value=0.0, values=tuple(hits(20, right).tolist()))
        score = TaskFigure(task="t", metric="score", value=0.5, values=(0.5,) * 20)
        done.add([Done(arm=name, name="t", limit=None, figures=(accuracy, score))])
    found = tasks.compare(("base", "tuned"), tasks.Tasks(names=("t",)), done, resamples=200, seed=0)["t"]
    assert found["acc"]["arms"]["base"] == as_data(share(hits(20, 0)))
    assert found["acc"]["differences"]["tuned - base"] == as_data(less(hits(20, 0), hits(20, 0)))
    assert found["score"]["arms"]["base"] == {"value": 0.5, "low": 0.5, "high": 0.5}
