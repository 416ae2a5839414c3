"""An experiment on the tiny model: every arm sees as many tokens, and a kill changes nothing about the results."""

import asyncio
import importlib
import json
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import msgspec
import pytest
from experiments import COMMON, make_home

from benchmarks.fedit import __main__ as command
from benchmarks.fedit import kept
from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, Entry, Journal, read_journal
from benchmarks.fedit.lab import open_lab
from benchmarks.fedit.settings import Experiment, load_experiment
from benchmarks.fedit.table import section
from benchmarks.fedit.view import View
from benchmarks.pages import ROOT
from edge_client.data import DataSource, load_records
from edge_client.disk import DiskError
from edge_client.inference import InferenceProcess, Open
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef

SETTINGS = f"""
[run]
name = "tiny"
[clients]
count = 6
fraction = 0.5
[federation]
rounds = 3
sum = "masked"
[server_step]
optimizer = "fedavgm"
beta1 = 0.5
[arms]
local = [1]
[evaluation]
every = 2
resamples = 200
{COMMON}"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("experiment"), 72, SETTINGS)


@pytest.fixture(scope="module")
def experiment(home: Path) -> Experiment:
    return load_experiment(home / "EXPERIMENT.toml")


@pytest.fixture(scope="module")
def whole(home: Path, experiment: Experiment) -> Path:
    command.train(experiment, home / "whole", quiet=True)
    return home / "whole"


def untimed(folder: Path) -> list[Entry]:
    return [msgspec.structs.replace(entry, seconds=0) for entry in read_journal(folder)[1]]


def test_every_arm_is_trained_on_as_many_tokens_and_judged_when_due(whole: Path) -> None:
    entries = untimed(whole)
    assert [(e.arm, e.round) for e in entries] == [
        (BASE, 0),
        *((arm, number) for arm in (FEDERATED, CENTRALIZED, "local 1") for number in (1, 2, 3)),
    ]
    assert [e.round for e in entries if e.judged and e.arm == FEDERATED] == [2, 3]
    ends = {e.arm: e for e in entries if e.round == 3}
    assert ends[FEDERATED].tokens > 1000
    for end in ends.values():  # to half a batch of at most 130 tokens a record
        assert end.tokens == pytest.approx(ends[FEDERATED].tokens, abs=2 * 130)
    assert len({e.adapter for e in entries}) == len(entries)
    base = entries[0].judged
    assert base is not None
    assert all(end.judged is not None and sum(end.judged.losses) < sum(base.losses) for end in ends.values())


def test_a_federated_round_records_what_was_sent_and_how_well(whole: Path) -> None:
    rounds = [e for e in untimed(whole) if e.arm == FEDERATED]
    assert [len(e.clients) for e in rounds] == [3, 3, 3]
    assert rounds[2].uploaded == 3 * rounds[0].uploaded > 0
    for entry in rounds:
        assert entry.quantization_error is not None
        assert entry.update_norm is not None
        assert 0 < entry.quantization_error < 0.1 * entry.update_norm
        assert entry.clip


def test_killed_after_any_line_it_goes_on_to_the_same_results(
    home: Path, experiment: Experiment, whole: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add, out = Journal.add, home / "killed"

    def killed(self: Journal, entry: Entry) -> None:
        if (entry.arm, entry.round) in ((FEDERATED, 2), (CENTRALIZED, 3)) and not (out / entry.arm).exists():
            (out / entry.arm).touch()  # once
            raise KeyboardInterrupt
        add(self, entry)

    monkeypatch.setattr(Journal, "add", killed)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            command.train(experiment, out, quiet=True)
    with (out / "results.jsonl").open("ab") as stream:
        stream.write(b'{"type":"round","arm":"cen')  # the disk kept half a line
    command.train(experiment, out, quiet=True)
    assert untimed(out) == untimed(whole)
    before = (out / "results.jsonl").read_bytes()
    command.train(experiment, out, quiet=True)
    assert (out / "results.jsonl").read_bytes() == before


def test_an_arm_can_be_added_to_a_finished_run_and_the_others_are_not_trained_again(
    home: Path, whole: Path, experiment: Experiment, tmp_path: Path
) -> None:
    fewer = msgspec.structs.replace(experiment, arms=msgspec.structs.replace(experiment.arms, local=()))
    command.train(fewer, tmp_path / "out", quiet=True)
    before = read_journal(tmp_path / "out")[1]
    assert {entry.arm for entry in before} == {BASE, FEDERATED, CENTRALIZED}
    command.train(experiment, tmp_path / "out", quiet=True)
    after = read_journal(tmp_path / "out")[1]
    assert after[: len(before)] == before  # to the second that they took
    assert {entry.arm for entry in after[len(before) :]} == {"local 1"}
    assert sorted(map(str, untimed(tmp_path / "out"))) == sorted(map(str, untimed(whole)))


def test_rounds_that_were_not_judged_are_judged_later_by_the_adapters_that_they_led_to(
    whole: Path, experiment: Experiment, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shutil.copytree(whole, out)
    with pytest.raises(UserError, match="no arm 'local 2' here"):
        command.train(experiment, out, judge=["local 2"], quiet=True)
    command.train(experiment, out, judge=["local 1", FEDERATED], quiet=True)
    judged = {(e.arm, e.round): e.judged for e in read_journal(out)[1]}
    assert {at for at, one in judged.items() if one is None} == {(CENTRALIZED, 1)}
    each = msgspec.structs.replace(experiment, evaluation=msgspec.structs.replace(experiment.evaluation, every=1))
    command.train(each, tmp_path / "each", quiet=True)
    for entry in read_journal(tmp_path / "each")[1]:
        if (entry.arm, entry.round) != (CENTRALIZED, 1):
            assert judged[entry.arm, entry.round] == entry.judged
    command.train(experiment, out, judge=["local 1"], quiet=True)  # nothing is left to do
    assert [e.judged for e in read_journal(out)[1]] == list(judged.values())


def test_an_answer_that_training_cuts_away_is_judged_all_the_same(experiment: Experiment, tmp_path: Path) -> None:
    def tokens(name: str, length: int) -> tuple[int, ...]:
        replace = msgspec.structs.replace
        only_base = replace(
            experiment,
            arms=replace(experiment.arms, federated=False, centralized=False, local=()),
            training=replace(experiment.training, max_length=60),
            evaluation=replace(experiment.evaluation, max_length=length),
        )
        command.train(only_base, tmp_path / name, quiet=True)
        [base] = read_journal(tmp_path / name)[1]
        assert base.judged is not None
        return base.judged.tokens

    cut, whole = tokens("cut", 60), tokens("whole", 2048)
    assert sum(cut) < sum(whole)
    assert all(whole)
    dolly = load_experiment(Path("dolly"))
    assert dolly.evaluation.max_length > dolly.training.max_length


def test_what_was_trained_from_what_is_said_without_where_it_lies(home: Path, whole: Path) -> None:
    settings = read_journal(whole)[0].settings
    assert settings["data"]["files"] == ["data.jsonl"]
    assert settings["model"]["id"] == "model"
    assert str(home) not in (whole / "results.jsonl").read_text()


def test_a_folder_with_another_experiments_results_is_left_alone(
    home: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "other.toml").write_text(SETTINGS.replace("learning_rate = 0.01", "learning_rate = 0.02"))
    before = (whole / "results.jsonl").read_bytes()
    assert command.main(["run", str(home / "other.toml"), "--out", str(whole), "--quiet"]) == 2
    assert "changed: [training] learning_rate was 0.01 and is 0.02." in capsys.readouterr().err
    assert (whole / "results.jsonl").read_bytes() == before


def test_results_of_another_version_are_neither_gone_on_with_nor_told_wrongly(
    home: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = (whole / "results.jsonl").read_bytes().replace(b'"version":1', b'"version":2', 1)
    (tmp_path / "results.jsonl").write_bytes(content)
    for arguments in (["report", str(tmp_path)], ["run", str(home / "EXPERIMENT.toml"), "--out", str(tmp_path)]):
        assert command.main(arguments) == 2
        assert "written by another version of fedit-bench: 2, this one is 1" in capsys.readouterr().err
        assert (tmp_path / "results.jsonl").read_bytes() == content


def test_a_second_run_in_the_same_folder_is_refused(
    home: Path, whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with filelock.FileLock(whole / "lock"):
        assert command.main(["run", str(home / "EXPERIMENT.toml"), "--out", str(whole), "--quiet"]) == 2
    assert "Another run is using" in capsys.readouterr().err


def test_a_start_adapter_that_a_run_with_other_settings_left_behind_is_not_used(home: Path, tmp_path: Path) -> None:
    (home / "wide.toml").write_text(SETTINGS.replace("rank = 4", "rank = 8"))
    ranks = []
    for name in ("wide.toml", "EXPERIMENT.toml"):
        with View(quiet=True) as view, open_lab(load_experiment(home / name), tmp_path, view) as lab:
            ranks.append(lab.task.tensors[0].shape[0])
        (tmp_path / "results.jsonl").unlink()  # killed before there was one
    assert ranks == [8, 4]


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit that only POSIX has")
def test_a_disk_that_refuses_is_told_and_costs_nothing(
    home: Path, experiment: Experiment, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "full"
    shutil.copytree(whole, out)
    lines = (out / "results.jsonl").read_bytes().splitlines(keepends=True)
    (out / "results.jsonl").write_bytes(b"".join(lines[:4]))
    with files_up_to(2000):
        assert command.main(["run", str(home / "EXPERIMENT.toml"), "--out", str(out), "--quiet"]) == 6
    assert "cannot be used" in (told := capsys.readouterr().err)
    assert "everything up to now is kept" in told
    command.train(experiment, out, quiet=True)
    assert untimed(out) == untimed(whole)


@pytest.mark.skipif(sys.platform == "win32", reason="sets a limit that only POSIX has")
def test_a_line_that_the_disk_took_half_of_is_no_line(whole: Path, tmp_path: Path) -> None:
    shutil.copy(whole / "results.jsonl", tmp_path)
    before = (tmp_path / "results.jsonl").read_bytes()
    header, entries = read_journal(tmp_path)
    journal = Journal(tmp_path, header)
    with files_up_to(len(before) + 20), pytest.raises(DiskError, match="cannot be used"):
        journal.add(entries[0])
    assert len((tmp_path / "results.jsonl").read_bytes()) == len(before) + 20
    assert read_journal(tmp_path)[1] == entries
    assert Journal(tmp_path, header).entries == entries
    assert (tmp_path / "results.jsonl").read_bytes() == before


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """The system refuses to write any file beyond so many bytes."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("option", "told"),
    [("--workers=0", "is no number of workers"), ("--workers=two", "is no number of workers")],
)
def test_what_is_no_number_of_workers_is_refused(home: Path, option: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.fedit", "run", str(home / "EXPERIMENT.toml"), option],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, told in done.stderr) == (2, True)


def test_the_command_is_the_module() -> None:
    project = tomllib.loads((ROOT / "benchmarks" / "pyproject.toml").read_text())["project"]
    module, _, function = project["scripts"]["fedit-bench"].partition(":")
    assert getattr(importlib.import_module(module), function) is command.main
    assert project["version"] == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_the_report_names_every_arm_with_its_interval_and_draws_figures(
    whole: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("matplotlib")
    assert command.main(["report", str(whole), "--resamples", "200"]) == 0
    summary = json.loads((whole / "summary.json").read_text())
    assert list(summary["arms"]) == [BASE, FEDERATED, CENTRALIZED, "local 1"]
    for arm in summary["arms"].values():
        assert arm["low"] <= arm["loss"] <= arm["high"]
        assert set(arm["by_category"]) == {"even", "odd"}
    assert summary["differences"]["base - federated"]["low"] > 0
    assert "| federated |" in capsys.readouterr().out
    for name in ("loss-by-round", "loss-by-category", "who-holds-what"):
        assert (whole / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert "</svg>" in (whole / f"{name}.svg").read_text()


def test_what_is_kept_is_shown_with_its_figures(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(kept, "IMAGES", tmp_path)
    assert command.main(["keep", str(whole), "--resamples", "200"]) == 0
    result = json.loads((tmp_path / "results" / "fedit-tiny.json").read_text())
    told = section(result)
    for figure in ("loss-by-round", "loss-by-category", "who-holds-what"):
        assert (tmp_path / f"fedit-tiny-{figure}.svg").read_text().startswith("<?xml")
        assert f"fedit-tiny-{figure}.svg)" in told
    (tmp_path / "fedit-tiny-who-holds-what.svg").unlink()
    assert "who-holds-what" not in section(result)


def test_an_exported_arm_has_on_the_held_out_records_the_losses_that_it_was_judged_by(
    whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arms = {FEDERATED: "federated", CENTRALIZED: "centralized", "local 1": "local-1"}
    assert command.main(["export", str(whole), str(tmp_path), "--data-license", "CC-BY-4.0"]) == 0
    assert capsys.readouterr().out.split() == [str(tmp_path / name) for name in arms.values()]
    header, entries = read_journal(whole)
    judged = {e.arm: e.judged for e in entries if e.round == header.rounds}
    records = load_records(DataSource(path=str(whole / "held-out.jsonl"))).records
    assert tuple(record.category for record in records) == header.categories

    async def losses() -> list[list[float]]:
        model = ModelRef(id="model")
        async with InferenceProcess(Open(model=model, model_folder=str(whole.parent / "model"), threads=1)) as process:
            return [
                [r.loss_sum for r in (await process.evaluate(str(tmp_path / name), records, max_length=2048)).records]
                for name in arms.values()
            ]

    for arm, found in zip(arms, asyncio.run(losses()), strict=True):
        own = judged[arm]
        assert own is not None
        assert found == pytest.approx(list(own.losses), abs=1e-3)
    card = (tmp_path / "federated" / "README.md").read_text()
    assert "federated by `fedavg`, the updates summed under secure aggregation, after 3 of 3 rounds" in card
    assert 'license: "cc-by-4.0"' in card
    assert "| [training] learning_rate | `0.01` |" in card
    assert "| federated | 3 |" in card
    assert "| centralized |" not in card  # another adapter's results
    assert "Not finished" not in card
    assert command.main(["export", str(whole), str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_card_of_an_unfinished_run_says_so_and_has_no_results_of_another_round(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "unfinished"
    shutil.copytree(whole, folder)
    header, *entries = [json.loads(line) for line in (whole / "results.jsonl").read_text().splitlines()]
    for entry in entries:
        if (entry["arm"], entry["round"]) == (FEDERATED, 3):
            entry["judged"] = None  # what was judged last is round 2
    lines = [json.dumps(line) for line in (header | {"rounds": 5}, *entries)]
    (folder / "results.jsonl").write_text("\n".join(lines) + "\n")
    assert command.main(["export", str(folder), str(tmp_path / "out"), "--resamples", "200"]) == 0
    cards = {name: (tmp_path / "out" / name / "README.md").read_text() for name in ("federated", "centralized")}
    for card in cards.values():
        assert "after 3 of 5 rounds" in card
        assert "**Not finished**" in card
    assert "This adapter was not judged." in cards["federated"]
    assert "| federated |" not in cards["federated"]
    assert "| centralized | 3 |" in cards["centralized"]


@pytest.mark.parametrize("content", [b"", b"no results\n", b'{"type":"round","arm":"base","round":0}\n'])
def test_a_file_that_holds_no_results_is_told_without_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    (tmp_path / "results.jsonl").write_bytes(content)
    assert command.main(["report", str(tmp_path)]) == 2
    assert "no file of results" in (told := capsys.readouterr().err) or "holds no results" in told
    assert "Traceback" not in told
