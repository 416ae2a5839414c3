"""Devices that want wide clip ranges: whatever lies within a range may be published, so wide ones bound nothing. Ranges
follow what was published, and a device writes its own slots."""

from pathlib import Path

import numpy as np
import pytest
from simulated import Simulated, make_config

from agg_server.driver.work import opening_ranges
from agg_server.summing.clipping import first_ranges, lone_share, next_ranges, widest_range
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings
from fedit_shared.parameters import levels
from fedit_shared.quantize import Mean, Quantizer, read_mean
from fedit_shared.secagg import Update

SIZE, MEMBERS, LARGEST = 1000, 10, 16
TASK = TaskSpec(
    name="t",
    model=ModelRef(id="m"),
    adapter_config="{}",
    tensors=(TensorSpec(name="a", shape=(SIZE,)),),
    training=TrainingSettings(learning_rate=1e-3, epochs=None, steps=10),
)


def after(ranges: tuple[float, ...], mean: Mean) -> tuple[float, ...]:
    lone = lone_share(mean.survivors, mean.total_weight, LARGEST)
    return next_ranges(TASK, TASK.turn(1), ranges, mean.delta, mean.clipped, lone)


def quantizer(ranges: tuple[float, ...]) -> Quantizer:
    return Quantizer((SIZE,), ranges, 24, levels(MEMBERS, 24, LARGEST), LARGEST)


def published(ranges: tuple[float, ...], liars: int) -> Mean:
    """Honest devices have a quarter of the range; liars send ±c where they like and say that all was clipped: valid
    slots each. All have the largest weight, so that their sum is known without rounding."""
    top = LARGEST * quantizer(ranges).levels
    slots = np.full(SIZE + 3, (MEMBERS - liars) * (top + top // 4) + liars * 2 * top, np.uint32)
    slots[-3:] = MEMBERS * LARGEST, 0, liars * 2 * top
    return read_mean(quantizer(ranges), slots, MEMBERS)


def test_with_valid_slots_one_device_widens_no_range_and_two_widen_them_sixteenfold_at_most():
    ranges = first_ranges(TASK)
    assert max(after(ranges, published(ranges, liars=1))) <= max(ranges)
    for _ in range(12):
        ranges = after(ranges, published(ranges, liars=2))
    assert ranges == (widest_range(TASK),) == (pytest.approx(16 * 1e-3 * 10),)


def test_with_slots_of_its_own_making_one_device_widens_ranges_sixteenfold_at_most():
    """It brings every sum to the highest that is published (see test_poisoning)."""
    ranges = first_ranges(TASK)
    for _ in range(12):
        total = MEMBERS * LARGEST
        slots = np.full(SIZE + 3, 2 * quantizer(ranges).levels * total, np.uint32)
        slots[-3] = total
        mean = read_mean(quantizer(ranges), slots, MEMBERS)
        assert (mean.clipped, mean.loss) == (1.0, 16.0)
        assert np.allclose(mean.delta, max(ranges))
        ranges = after(ranges, mean)
    assert ranges == (widest_range(TASK),)


def test_means_as_large_as_can_be_widen_ranges_sixteenfold_at_most():
    ranges = first_ranges(TASK)
    for _ in range(12):
        delta = np.full(SIZE, max(ranges), np.float32)
        ranges = after(ranges, Mean(MEMBERS * LARGEST, loss=1.0, clipped=0.0, survivors=MEMBERS, delta=delta))
    assert ranges == (widest_range(TASK),)


def test_one_heavy_device_among_light_ones_widens_no_range_by_what_it_adds_to_the_mean():
    """Of 25 it weighs 16; the nine others have half the range. Had these more, the range would follow."""
    c = max(first_ranges(TASK))
    for others, grows in ((0.49, False), (0.6, True)):
        delta = np.full(SIZE, c * (16 + 9 * others) / 25, np.float32)
        [following] = after((c,), Mean(25, loss=1.0, clipped=0.0, survivors=MEMBERS, delta=delta))
        assert (following > c) is grows


def test_a_device_whose_values_lie_far_beyond_the_range_has_no_range_widened(tmp_path: Path):
    """In whole rounds, with the client's own code. A third of its values lie out, so that they are clipped and not
    scaled down for their number alone."""
    sim = Simulated(tmp_path, MEMBERS, cohort_target=MEMBERS)
    liar, first = sim.devices[0], max(sim.round.opened.clip)
    honest = sim.make_muster

    def muster(device, floor=3, **changes):
        event = honest(device, floor, **changes)
        if device is liar:
            delta = np.zeros_like(device.update.delta)
            delta[::3] = 1e3 * first
            device.update = Update(delta, 10**6, 2.0)
        return event

    sim.make_muster = muster  # type: ignore[method-assign]
    for _ in range(3):
        told = sim.finished(sim.whole_round())
        assert told.outcome == "published"
        assert (told.cohorts[0].clipped or 0) > 0.02, "the lie is in the sum"
        assert max(sim.round.opened.clip) <= first


def test_ranges_that_have_grown_further_under_other_settings_are_cut_when_a_round_opens():
    config = make_config(0, {})
    assert opening_ranges(config, TASK, (1e4,)) == (widest_range(TASK),)
    assert opening_ranges(config, TASK, (0.1,)) == (0.1,)
    assert opening_ranges(make_config(0, {"clip": 50.0}), TASK, (0.1,)) == (50.0,), "the operator's own"
