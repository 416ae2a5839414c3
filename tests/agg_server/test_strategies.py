"""The server under each strategy: what is published is what was summed, and what rests does not move."""

import math
from itertools import pairwise
from pathlib import Path

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from server_process import command, make_adapter
from simulated import FACTORS, Simulated, make_config

from agg_server.adapters.publishing import read_version
from agg_server.driver.opening import Plans
from agg_server.store import Versions
from agg_server.summing.sums import decode_slots
from agg_server.task import make_task
from benchmarks.demo.server import set_values
from fedit_shared import adapter
from fedit_shared.errors import UserError
from fedit_shared.messages import TensorSpec
from fedit_shared.parameters import upload_size
from fedit_shared.quantize import read_mean
from fedit_shared.strategies import REFUSED, Role

A, B = slice(0, 30), slice(30, 100)
"""Where the factors lie in the vector."""
SUMMED = {"fedavg": [(A, B), (A, B)], "ffa-lora": [(B,), (B,)], "rolora": [(B,), (A,)], "shared-a": [(A,), (A,)]}
"""In odd and in even rounds."""


def values(sim: Simulated, version: bytes) -> NDArray[np.float32]:
    return adapter.read_adapter(read_version(sim.tools.blobs, version))[1]


@pytest.mark.parametrize("strategy", SUMMED)
def test_a_round_publishes_the_mean_of_what_was_summed_and_nothing_else_moves(tmp_path: Path, strategy: str):
    sim = Simulated(tmp_path, 3, strategy=strategy, cohort_target=3)
    for number in (1, 2, 3):
        opened = sim.round.opened
        assert opened.round == number
        before = values(sim, opened.adapter)
        sim.muster(*sim.devices)
        session = sim.session_of(sim.devices[0])
        moving = np.concatenate([np.arange(100)[part] for part in SUMMED[strategy][(number - 1) % 2]])
        assert session.dimension == len(moving)
        for step in (sim.contribute, sim.report, sim.vote):
            step(*sim.devices)
        sim.answer(*sim.devices)
        told = sim.finished(number)
        assert told.outcome == "published"
        after = values(sim, sim.round.opened.adapter)
        resting = np.setdiff1d(np.arange(100), moving)
        assert np.array_equal(after[resting], before[resting])
        assert (after[moving] != before[moving]).mean() > 0.9
        sent = [device.update.delta for device in sim.devices if device.update is not None]
        weights = [session.quantizer.weight(device.update.examples) for device in sim.devices if device.update]
        expected = np.average(sent, axis=0, weights=weights)
        assert np.abs(after[moving] - before[moving] - expected).max() < 2 * max(session.quantizer.clip) / 100


@pytest.mark.parametrize(("strategy", "share"), [("ffa-lora", 70), ("shared-a", 30)])
def test_a_device_uploads_the_bytes_of_what_is_summed(tmp_path: Path, strategy: str, share: int):
    shapes = (TensorSpec(name=FACTORS[0].name, shape=(30, 1000)), TensorSpec(name=FACTORS[1].name, shape=(70, 1000)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simulated.FACTORS", shapes)
        sim = Simulated(tmp_path, 3, strategy=strategy, cohort_target=3)
        number = sim.whole_round()
    [cohort] = sim.finished(number).cohorts
    assert cohort.upload_bytes == upload_size(1000 * share, 16)
    assert cohort.upload_bytes < 0.01 * (share + 10) * upload_size(100_000, 16)


def test_clip_ranges_of_what_rests_wait_for_its_turn(tmp_path: Path):
    sim = Simulated(tmp_path, 3, strategy="rolora", cohort_target=3)
    ranges = [sim.round.opened.clip]
    for _ in range(4):
        sim.whole_round()
        ranges.append(sim.round.opened.clip)
    for number, (before, after) in enumerate(pairwise(ranges), start=1):
        resting = 0 if number % 2 else 1
        assert after[resting] == before[resting]
    assert all(first != later for first, later in zip(ranges[0], ranges[2], strict=True)), "each had its turn"


def adam(updates: list[float]) -> float:
    """FedAdam (Reddi et al., algorithm 2) over these updates alone, from 0."""
    x, m, v = 0.0, 0.0, 0.01**2
    for update in updates:
        m, v = 0.8 * m + 0.2 * update, 0.9 * v + 0.1 * update**2
        x += 0.1 * m / (math.sqrt(v) + 0.01)
    return x


def test_an_adaptive_servers_state_of_what_rests_does_not_move(tmp_path: Path):
    step = {"optimizer": "fedadam", "learning_rate": 0.1, "beta1": 0.8, "beta2": 0.9, "tau": 0.01}
    sim = Simulated(tmp_path, 3, strategy="rolora", cohort_target=3, step=step)
    start = values(sim, sim.round.opened.adapter)
    seen: dict[str, list[NDArray[np.float32]]] = {"A": [], "B": []}
    for number in range(1, 6):
        sim.muster(*sim.devices)
        for act in (sim.contribute, sim.report, sim.vote):
            act(*sim.devices)
        [cohort] = sim.round.cohorts.values()
        sim.answer(*sim.devices, settle=False)
        sim.settle()
        slots = decode_slots(sim.tools.rooms.read_sum(cohort.id))
        seen["B" if number % 2 else "A"].append(read_mean(cohort.session.quantizer, slots, 3).delta)
    moved = values(sim, sim.round.opened.adapter) - start
    for part, updates in ((A, seen["A"]), (B, seen["B"])):
        expected = [adam([float(update[place]) for update in updates]) for place in range(part.stop - part.start)]
        assert moved[part] == pytest.approx(np.array(expected), rel=1e-4, abs=1e-6)
    assert (len(seen["A"]), len(seen["B"])) == (2, 3)


def test_turns_alternate_across_failed_rounds_and_after_a_rollback(tmp_path: Path):
    sim = Simulated(tmp_path, 3, strategy="rolora", cohort_target=3)

    def turn() -> tuple[int, tuple[Role, ...]]:
        return sim.round.number, sim.round.turn.roles

    b, a = (Role.REST, Role.SUM), (Role.SUM, Role.REST)
    assert turn() == (1, b)

    def fail() -> None:
        sim.muster(*sim.devices)
        sim.contribute(*sim.devices[:1])
        sim.wait(10 * 86400)

    fail()
    assert turn() == (3, b), "B was not published: it comes again"
    sim.whole_round()
    assert turn() == (4, a)
    fail()
    assert turn() == (6, a)
    fail()
    assert turn() == (8, a)
    sim.whole_round()
    assert turn() == (9, b)
    with sim.database.begin() as connection:
        published = [version.round for version in Versions().all(connection)]
        assert published == [None, 3, 8]
        Versions().order_rollback(connection, 1)
    sim.settle()
    assert turn() == (10, a), "version 1 came of a round of B"


def test_a_federation_goes_on_by_another_strategy_with_an_optimizer_begun_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("simulated.TENSORS", FACTORS)
    step: dict[str, object] = {"optimizer": "fedavgm", "beta1": 0.5}
    sim = Simulated(tmp_path, 3, cohort_target=3, step=step)
    sim.whole_round()
    sim.config = make_config(0, {"cohort_target": 3}, "rolora", step)
    sim.tools = sim.tools._replace(config=sim.config)
    sim.plans = Plans.of(msgspec.structs.replace(sim.plans.task, strategy="rolora"))
    sim.restart()
    assert sim.finished(2).reason == "the task was changed"
    assert sim.round.turn.roles == (Role.SUM, Role.REST), "the one after the turn of round 1's number"
    for moving in (A, B):
        before = values(sim, sim.round.opened.adapter)
        sim.muster(*sim.devices)
        quantizer = sim.session_of(sim.devices[0]).quantizer
        for act in (sim.contribute, sim.report, sim.vote):
            act(*sim.devices)
        [cohort] = sim.round.cohorts.values()
        sim.answer(*sim.devices)
        moved = values(sim, sim.round.opened.adapter) - before
        first = read_mean(quantizer, decode_slots(sim.tools.rooms.read_sum(cohort.id)), 3).delta
        assert moved[moving] == pytest.approx(first, abs=1e-7), "no momentum of before"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_strategy_that_is_not_offered_is_refused_with_its_line_and_the_reason(name: str):
    with pytest.raises(UserError, match=rf"line 4: \[federation\] {name} is not offered: .*arXiv"):
        make_config(0, {}, name)


def test_a_slip_of_the_pen_is_answered_with_the_names_there_are():
    with pytest.raises(UserError, match=r"line 4: .*'rollora'; there are fedavg, ffa-lora, rolora, shared-a"):
        make_config(0, {}, "rollora")


def test_an_adapter_that_a_strategy_cannot_be_done_on_is_refused_with_what_to_change(tmp_path: Path):
    odd = [TensorSpec(name="base_model.model.q.lora_A.weight", shape=(2, 3)), TensorSpec(name="head", shape=(4,))]
    folder = make_adapter(tmp_path / "adapter")
    (folder / adapter.FILE_NAME).write_bytes(adapter.write_adapter(odd, np.zeros(10, np.float32)))
    assert make_task(make_config(0, {}), folder).strategy == "fedavg"
    with pytest.raises(UserError, match="head is neither") as caught:
        make_task(make_config(0, {}, "ffa-lora"), folder)
    assert "strategy" in caught.value.advice


def test_the_strength_of_fedprox_in_the_settings_is_that_of_the_task(tmp_path: Path):
    config = make_config(0, {})
    federation = msgspec.structs.replace(config.federation, proximal=0.25)
    folder = make_adapter(tmp_path / "adapter")
    assert make_task(config, folder).proximal == 0
    assert make_task(msgspec.structs.replace(config, federation=federation), folder).proximal == 0.25


def test_the_settings_file_that_init_writes_takes_every_strategy(tmp_path: Path):
    made = command("init", tmp_path / "f", "--adapter", make_adapter(tmp_path / "adapter"), "--model", "tiny")
    assert made.returncode == 0, made.stderr
    text = (tmp_path / "f" / "federation.toml").read_text()
    for strategy in SUMMED:
        assert f'"{strategy}"' in text
        set_values(tmp_path / "f" / "federation.toml", {"strategy": strategy}, section="federation")
        assert f'\nstrategy = "{strategy}"' in (tmp_path / "f" / "federation.toml").read_text()
