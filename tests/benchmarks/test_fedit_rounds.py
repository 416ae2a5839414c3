"""A federated round between its jobs, with replies given by hand: what clients are asked for, and the server's step."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
import pytest
from experiments import COMMON, make_home

from benchmarks.fedit.arms import _federate, _federations, make_plan
from benchmarks.fedit.jobs import Order, Train, Trained
from benchmarks.fedit.journal import FEDERATED
from benchmarks.fedit.lab import Lab, open_lab
from benchmarks.fedit.settings import Experiment, load_experiment
from benchmarks.fedit.view import View

SETTINGS = f"""
[run]
name = "tiny"
[clients]
count = 4
fraction = 0.5
[federation]
rounds = 3
sum = "exact"
proximal = 0.25
[server_step]
optimizer = "fedavgm"
beta1 = 0.5
learning_rate = 0.5
[arms]
strategies = ["rolora"]
[evaluation]
every = 3
{COMMON}"""


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    return load_experiment(make_home(tmp_path_factory.mktemp("rounds"), 40, SETTINGS) / "EXPERIMENT.toml")


@pytest.fixture
def lab(experiment: Experiment, tmp_path: Path) -> Iterator[Lab]:
    with View(quiet=True) as view, open_lab(experiment, tmp_path, view) as lab:
        yield lab


def asked(orders: Sequence[Order]) -> list[Train]:
    return [order.job for order in orders if isinstance(order.job, Train)]


def test_clients_are_asked_to_stay_as_near_as_the_settings_say_under_every_strategy(lab: Lab) -> None:
    plan, federations = make_plan(lab), _federations(lab)
    assert len(federations) == 2
    for arm, task in federations.items():
        jobs = asked(next(_federate(lab, plan, arm, task)))
        assert [job.work.proximal for job in jobs] == [0.25, 0.25], arm
        assert {job.work.strategy for job in jobs} == {task.strategy}
        free = msgspec.structs.replace(task, proximal=0.0)
        assert {job.work.proximal for job in asked(next(_federate(lab, plan, arm, free)))} == {0.0}


def test_the_server_steps_as_its_settings_say_with_clients_weighed_by_records(lab: Lab) -> None:
    arm = _federate(lab, make_plan(lab), FEDERATED, _federations(lab)[FEDERATED])
    orders, expected = next(arm), lab.read(lab.start).astype(np.float64)
    momentum = np.zeros_like(expected)
    random = np.random.default_rng(1)
    for number in (1, 2):
        first, second = (random.normal(0, 1e-3, expected.size).astype("<f4") for _ in range(2))
        orders = arm.send(
            [
                Trained(delta=delta.tobytes(), private=b"", examples=examples, loss=1.0, seconds=0.0)
                for delta, examples in ((first, 32), (second, 64))
            ]
        )
        momentum = 0.5 * momentum + (first + 2 * second) / 3
        expected += 0.5 * momentum
        done = lab.journal.last(FEDERATED)
        assert done is not None
        assert done.round == number
        assert np.allclose(lab.read(bytes.fromhex(done.adapter)), expected, rtol=0, atol=1e-6)
        assert {job.version.hex() for job in asked(orders)} == {done.adapter}
