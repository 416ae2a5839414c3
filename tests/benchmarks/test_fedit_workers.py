"""Workers in other processes change no number; one that dies is replaced; none outlives the command."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from experiments import COMMON, make_home

from benchmarks.fedit import __main__ as command
from benchmarks.fedit import processes
from benchmarks.fedit.journal import FEDERATED, Entry, Journal, read_journal
from benchmarks.fedit.settings import Experiment, load_experiment
from benchmarks.pages import ROOT
from fedit_shared.errors import UserError

SETTINGS = f"""
[run]
name = "tiny"
[clients]
count = 4
[federation]
rounds = 2
sum = "quantized"
[arms]
local = [1, 2]
[evaluation]
every = 2
resamples = 200
{COMMON.replace("held_out = 6", "held_out = 70")}"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_home(tmp_path_factory.mktemp("experiment"), 200, SETTINGS)


@pytest.fixture(scope="module")
def experiment(home: Path) -> Experiment:
    return load_experiment(home / "EXPERIMENT.toml")


@pytest.fixture(scope="module")
def sequential(home: Path, experiment: Experiment) -> list[Entry]:
    command.train(experiment, home / "sequential", quiet=True)
    return results(home / "sequential")


def on(experiment: Experiment, **machine: object) -> Experiment:
    return msgspec.structs.replace(experiment, machine=msgspec.structs.replace(experiment.machine, **machine))


def results(folder: Path) -> list[Entry]:
    entries = [msgspec.structs.replace(entry, seconds=0) for entry in read_journal(folder)[1]]
    return sorted(entries, key=lambda entry: (entry.arm, entry.round))


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    return [child for child in process.children(recursive=True) if "spawn_main" in " ".join(child.cmdline())]


def test_two_workers_find_the_same_to_the_last_bit_although_one_is_killed_and_the_run_is_stopped_by_ctrl_c(
    home: Path, experiment: Experiment, sequential: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The evaluation has 140 records in three parts. A worker is killed after the first checkpoint of a work; the run
    is stopped before the federation's last round is in the journal."""
    out, killed, add, hear = home / "parallel", [], Journal.add, processes.Processes._hear

    def hear_and_kill(self: processes.Processes, hand: processes._Hand) -> object:
        if not killed and list((out / "work").glob("*/*/checkpoint.safetensors")):
            assert hand.process.pid is not None
            os.kill(hand.process.pid, signal.SIGKILL)
            hand.process.join()
            killed.append(hand.process.pid)
        return hear(self, hand)

    def add_or_stop(self: Journal, entry: Entry) -> None:
        if (entry.arm, entry.round) == (FEDERATED, 2):
            workers = workers_of(psutil.Process())
            assert len(workers) == 2
            for one in workers:  # a terminal tells all
                one.send_signal(signal.SIGINT)
            raise KeyboardInterrupt
        add(self, entry)

    with monkeypatch.context() as patched:
        patched.setattr(processes.Processes, "_hear", hear_and_kill)
        patched.setattr(Journal, "add", add_or_stop)
        with pytest.raises(KeyboardInterrupt):
            command.train(on(experiment, checkpoint=0), out, workers=2, quiet=True)
    assert len(killed) == 1
    assert workers_of(psutil.Process()) == []
    assert 0 < len(results(out)) < len(sequential)
    command.train(experiment, out, quiet=True)
    assert results(out) == sequential
    assert not list((out / "work").iterdir())


def test_killed_it_leaves_no_process_and_goes_on_where_it_was(
    home: Path, experiment: Experiment, sequential: list[Entry]
) -> None:
    out = home / "killed"
    arguments = ["run", str(home / "EXPERIMENT.toml"), "--workers", "1", "--out", str(out)]
    driver = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.fedit", *arguments], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )
    assert driver.stderr is not None
    next(line for line in driver.stderr if ", round 1" in line)
    workers = workers_of(psutil.Process(driver.pid))
    assert len(workers) == 1
    driver.kill()
    driver.communicate()
    assert psutil.wait_procs(workers, timeout=60)[1] == []
    before = results(out)
    assert 0 < len(before) < len(sequential)
    command.train(experiment, out, quiet=True)
    assert results(out) == sequential


def test_what_a_worker_cannot_do_is_told_with_advice_and_ends_the_run(home: Path, experiment: Experiment) -> None:
    with pytest.raises(UserError) as caught:
        command.train(on(experiment, memory=2**20), home / "small", workers=1, quiet=True)
    assert caught.value.advice
    assert workers_of(psutil.Process()) == []


@pytest.mark.skipif(importlib.util.find_spec("ray") is not None, reason="Ray is installed here")
def test_without_ray_it_says_what_to_install(home: Path, experiment: Experiment) -> None:
    with pytest.raises(UserError, match=r"Ray is not installed here. Run: pip install 'ray"):
        command.train(experiment, home / "no-ray", ray="", quiet=True)


def test_workers_on_ray_find_the_same_to_the_last_bit_although_one_is_killed(
    home: Path, experiment: Experiment, sequential: list[Entry], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray", reason="needs Ray: pip install 'ray>=2.50'")
    from benchmarks.fedit import on_ray

    out, killed, listen = home / "ray", [], on_ray.Ray._listen

    def listen_and_kill(self: on_ray.Ray, hand: on_ray._Hand) -> None:
        listen(self, hand)
        actors = [p for p in psutil.Process().children(recursive=True) if "ray::_Actor" in " ".join(p.cmdline())]
        if not killed and actors and list((out / "work").glob("*/*/checkpoint.safetensors")):
            actors[0].kill()
            killed.append(actors[0].pid)

    monkeypatch.setattr(on_ray, "_TICK", 0.05)
    monkeypatch.setattr(on_ray.Ray, "_listen", listen_and_kill)
    command.train(on(experiment, checkpoint=0), out, workers=2, ray="", quiet=True)
    assert len(killed) == 1
    assert results(out) == sequential
    assert not [p for p in psutil.Process().children(recursive=True) if "ray" in " ".join(p.cmdline())]
