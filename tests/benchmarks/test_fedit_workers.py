"""Workers in other processes change no number; one that dies is replaced; none outlives the command."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from tiny_model import make_records, save_model, write_records

from benchmarks.fedit import __main__ as command
from benchmarks.fedit import processes
from benchmarks.fedit.journal import Entry, read_journal
from benchmarks.fedit.settings import Experiment, load_experiment

ROOT = Path(__file__).parents[2]
SETTINGS = """
[run]
name = "tiny"
[data]
files = ["data.jsonl"]
held_out = 70
[model]
id = "model"
[clients]
count = 4
[partition]
kind = "iid"
[federation]
rounds = 2
sum = "quantized"
[training]
epochs = 1
batch_size = 4
learning_rate = 0.01
max_length = 200
[adapter]
rank = 4
modules = ["q_proj", "v_proj"]
[arms]
local = [1, 2]
[evaluation]
every = 2
resamples = 200
[machine]
device = "cpu"
threads = 1
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiment")
    save_model(folder / "model")
    write_records(folder / "data.jsonl", make_records(200))
    (folder / "EXPERIMENT.toml").write_text(SETTINGS)
    return folder


@pytest.fixture(scope="module")
def experiment(home: Path) -> Experiment:
    return load_experiment(home / "EXPERIMENT.toml")


@pytest.fixture(scope="module")
def sequential(home: Path, experiment: Experiment) -> list[Entry]:
    command.train(experiment, home / "sequential", quiet=True)
    return results(home / "sequential")


def results(folder: Path) -> list[Entry]:
    entries = [msgspec.structs.replace(entry, seconds=0) for entry in read_journal(folder)[1]]
    return sorted(entries, key=lambda entry: (entry.arm, entry.round))


def test_two_workers_find_the_same_to_the_last_bit_and_one_that_is_killed_is_replaced(
    home: Path, experiment: Experiment, sequential: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation has 140 records in three parts; the worker is killed after the first checkpoint of a work."""
    killed: list[int] = []
    hear = processes.Processes._hear

    def hear_and_kill(self: processes.Processes, hand: processes._Hand) -> object:
        if not killed and list((home / "parallel" / "work").glob("*/*/checkpoint.safetensors")):
            assert hand.process.pid is not None
            killed.append(hand.process.pid)
            os.kill(hand.process.pid, signal.SIGKILL)
            hand.process.join()
        return hear(self, hand)

    monkeypatch.setattr(processes.Processes, "_hear", hear_and_kill)
    machine = msgspec.structs.replace(experiment.machine, checkpoint=0)
    command.train(msgspec.structs.replace(experiment, machine=machine), home / "parallel", workers=2, quiet=True)
    assert killed
    assert results(home / "parallel") == sequential
    assert not [child for child in psutil.Process().children(recursive=True) if "spawn_main" in str(child.cmdline())]
    assert not (home / "parallel" / "work").exists() or not list((home / "parallel" / "work").iterdir())


def test_killed_or_stopped_by_ctrl_c_it_leaves_no_process_and_goes_on_where_it_was(
    home: Path, experiment: Experiment, sequential: list[Entry]
) -> None:
    out = home / "stopped"
    assert stopped(home, out, signal.SIGKILL) == -signal.SIGKILL
    before = len(results(out))
    assert 0 < before < len(sequential)
    assert stopped(home, out, signal.SIGINT) == 130
    assert before < len(results(out)) < len(sequential)
    command.train(experiment, out, quiet=True)
    assert results(out) == sequential


def stopped(home: Path, out: Path, how: signal.Signals) -> int:
    """The exit status of a run of two workers that gets a signal after the first round that it finishes."""
    command_line = [sys.executable, "-m", "benchmarks.fedit", "run", str(home / "EXPERIMENT.toml"), "--workers", "2"]
    driver = subprocess.Popen(
        [*command_line, "--out", str(out)], cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert driver.stderr is not None
    assert any(", round " in line for line in driver.stderr)
    workers = psutil.Process(driver.pid).children(recursive=True)
    assert len(workers) >= 2
    if how == signal.SIGINT:
        os.killpg(driver.pid, how)  # as a terminal does
    else:
        driver.kill()
    driver.stderr.read()
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    return driver.wait(60)
