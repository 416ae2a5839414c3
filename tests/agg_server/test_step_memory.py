"""The step over many cohorts: the numbers of the formula, in memory that does not grow with the cohorts."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import simulated
from simulated import Simulated

from agg_server.adapters.publishing import read_version
from agg_server.driver.work import Job, job
from agg_server.rounds.effects import TakeStep
from agg_server.rounds.events import RoundEnded
from agg_server.summing.sums import decode_slots
from fedit_shared import adapter
from fedit_shared.messages import TensorSpec
from fedit_shared.quantize import read_mean

TENSORS = (TensorSpec(name="a", shape=(50_000, 4)), TensorSpec(name="b", shape=(100_000,)))
D = 300_000


def before_the_step(folder: Path, cohorts: int, monkeypatch: pytest.MonkeyPatch) -> tuple[Simulated, Job]:
    """A round of so many cohorts of three, whose sums are opened, and the job that takes its step."""
    monkeypatch.setattr(simulated, "TENSORS", TENSORS)
    folder.mkdir()
    sim = Simulated(folder, count=3 * cohorts, cohort_target=3 * cohorts, cohort_max=3, max_weight=16)
    sim.muster(*sim.devices)
    for step in (sim.contribute, sim.report, sim.vote):
        step(*sim.devices)
    sim.answer(*sim.devices, settle=False)
    while True:
        effects = [due.effect for due in sim.ledger.due(sim.now)]
        [*ends] = [effect for effect in effects if isinstance(effect, TakeStep)]
        if ends:
            return sim, job(sim.tools, sim.round, ends[0], sim.now)
        for effect in effects:
            event = job(sim.tools, sim.round, effect, sim.now)()
            assert event is not None
            sim.record(event)


def peak(take_step: Job) -> tuple[RoundEnded, int]:
    """What the step comes to, and the bytes that it takes at its worst."""
    tracemalloc.start()
    try:
        event = take_step()
        assert isinstance(event, RoundEnded)
        return event, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_step_takes_no_more_memory_for_nine_cohorts_than_for_two(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    _, few = peak(before_the_step(tmp_path / "few", 2, monkeypatch)[1])
    _, many = peak(before_the_step(tmp_path / "many", 9, monkeypatch)[1])
    assert many < 1.02 * few
    assert many < 24 * D, "20 bytes a value, and blocks"


def test_the_step_is_the_weighted_mean_of_the_cohorts_means_bit_for_bit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sim, take_step = before_the_step(tmp_path / "sim", 4, monkeypatch)
    means = []
    for cohort in sim.round.cohorts.values():
        slots = decode_slots(sim.tools.rooms.read_sum(cohort.id))
        means.append(read_mean(cohort.session.quantizer, slots, 3))
    assert len({mean.total_weight for mean in means}) > 1
    weight = sum(mean.total_weight for mean in means)
    update = np.zeros(D)
    for mean in means:
        update += (mean.total_weight / weight) * mean.delta
    _, before = adapter.read_adapter(read_version(sim.tools.blobs, sim.round.opened.adapter))
    ended = take_step()
    assert isinstance(ended, RoundEnded)
    _, after = adapter.read_adapter(read_version(sim.tools.blobs, ended.adapter))
    assert np.array_equal(after, (before + update).astype(np.float32))
    assert ended.update_norm == pytest.approx(float(np.linalg.norm(after.astype(np.float64) - before)))
    assert ended.mean_norm == pytest.approx(float(np.linalg.norm(update)))
