"""Options that take no experiment for their value; rounds that diverge; rounds computed under other conditions."""

import math
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from experiments import COMMON, make_home

from benchmarks.fedit import __main__ as command
from benchmarks.fedit.journal import FEDERATED, Entry, Journal, Judged, Later, conditions_of, read_journal
from benchmarks.fedit.settings import Experiment, load_experiment
from fedit_shared.errors import UserError

SETTINGS = f"""
[run]
name = "tiny"
[clients]
count = 3
[federation]
rounds = 1
[arms]
centralized = false
local = [1]
[evaluation]
resamples = 200
{COMMON}"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load_experiment(make_home(tmp_path_factory.mktemp("experiment"), 30, SETTINGS) / "EXPERIMENT.toml")


@pytest.fixture(scope="module")
def whole(experiment: Experiment, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    command.train(experiment, folder, quiet=True)
    return folder


def test_a_run_that_goes_on_under_other_conditions_says_so_and_each_round_keeps_its_own(
    whole: Path, experiment: Experiment, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [usual] = {one for entry in read_journal(whole)[1] for one in conditions_of(entry)}
    assert usual.startswith("cpu, int8, ")
    assert f", torch {version('torch')}, " in usual
    other = usual.replace("torch ", "torch 1.")
    lines = (whole / "results.jsonl").read_text().replace(usual, other).splitlines(keepends=True)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "results.jsonl").write_text("".join(lines[:-1]))
    shutil.copytree(whole / "blobs", tmp_path / "out" / "blobs")
    capsys.readouterr()
    command.train(experiment, tmp_path / "out")
    told = "".join(capsys.readouterr().err.split())
    assert f"computed with {usual}, what came before with {other}.".replace(" ", "") in told
    *before, last = read_journal(tmp_path / "out")[1]
    assert {one for entry in before for one in conditions_of(entry)} == {other}
    assert conditions_of(last) == {usual}


@pytest.mark.parametrize(
    "changes",
    [
        {"judged": Judged(losses=(1.0, math.nan), tokens=(1, 1))},
        {"training_loss": math.inf},
        {"update_norm": math.nan},
        {"clip": (math.inf,)},
    ],
)
def test_a_round_that_diverged_is_an_error_and_what_was_before_can_be_read(
    whole: Path, tmp_path: Path, changes: dict[str, Any]
) -> None:
    shutil.copy(whole / "results.jsonl", tmp_path)
    header, entries = read_journal(tmp_path)
    journal = Journal(tmp_path, header)
    with pytest.raises(UserError, match="federated diverged in round 4") as caught:
        journal.add(Entry(arm=FEDERATED, round=4, **changes))
    assert "learning_rate" in caught.value.advice
    if judged := changes.get("judged"):
        with pytest.raises(UserError, match="federated diverged in round 1"):
            journal.judge(Later(arm=FEDERATED, round=1, judged=judged))
    assert journal.entries == read_journal(tmp_path)[1] == entries


@pytest.mark.parametrize(
    ("words", "data", "ray", "judge"),
    [
        (["--data", "a.jsonl", "cpu-small"], ["a.jsonl"], None, []),
        (["--data", "a.jsonl", "--data", "b.jsonl", "cpu-small"], ["a.jsonl", "b.jsonl"], None, []),
        (["--ray", "cpu-small"], None, "", []),
        (["--ray-address", "host:6379", "cpu-small"], None, "host:6379", []),
        (["--judge", "local 1", "cpu-small", "--judge", "federated"], None, None, ["local 1", "federated"]),
    ],
)
def test_no_option_takes_the_experiment_for_a_value_of_its_own(
    words: list[str], data: list[str] | None, ray: str | None, judge: list[str]
) -> None:
    options = command.parser().parse_args(["run", *words])
    assert options.experiment == Path("cpu-small")
    assert (options.data, options.ray, options.judge) == (data, ray, judge)
    assert command.parser().parse_args(["run", "cpu-small"]).judge == [], "lists are each command's own"
