"""Clip ranges, the server's step, the error estimate, durations."""

import math
from pathlib import Path

import msgspec
import numpy as np
import pytest
from cohorts import Cohort
from numpy.typing import NDArray

from agg_server.adapters.optimizer import OPTIMIZERS, ServerStep
from agg_server.adapters.publishing import CorruptError, adapter_key, combine, publish, read_version, state_key
from agg_server.durations import Seconds, in_words
from agg_server.storage.blobs import Blobs
from agg_server.summing.clipping import (
    SMALLEST_RANGE,
    first_ranges,
    lone_share,
    next_ranges,
    rounding_error,
    widest_range,
)
from agg_server.summing.sums import decode_slots, encode_slots
from benchmarks.demo.plain import plain_slots, reach
from fedit_shared import adapter
from fedit_shared.errors import ProtocolError, SumError
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings
from fedit_shared.quantize import Mean, read_mean

TENSORS = (TensorSpec(name="a", shape=(2, 3)), TensorSpec(name="b", shape=(4,)))


def task(**training: object) -> TaskSpec:
    settings = TrainingSettings(**{"learning_rate": 1e-3, "epochs": None} | training)
    return TaskSpec(name="t", model=ModelRef(id="m"), adapter_config="{}", tensors=TENSORS, training=settings)


def mean(delta: list[float], weight: int) -> Mean:
    return Mean(total_weight=weight, loss=1.0, clipped=0.0, survivors=3, delta=np.array(delta, np.float32))


def test_the_first_clip_range_is_learning_rate_times_local_steps():
    assert first_ranges(task(steps=20)) == (pytest.approx(0.02),) * 2
    assert first_ranges(task(epochs=2.0, batch_size=16)) == (pytest.approx(0.064),) * 2
    assert first_ranges(task(minutes=5.0)) == (pytest.approx(0.064),) * 2


UNIT = task(steps=1, learning_rate=1.0)
"""Its first ranges are 1."""
FEW = 0.1
"""What one of ten devices of equal weights can have of a mean."""


def following(ranges: tuple[float, ...], mean: NDArray[np.floating], clipped: float = 0.0, lone: float = FEW):
    return next_ranges(UNIT, UNIT.turn(1), ranges, mean, clipped, lone)


def test_later_ranges_follow_each_tensors_mean_but_not_by_leaps():
    moved = np.array([0.4, 0, 0, 0, 0, -0.1, 0.0, 0.0, 0.001, 0.0])
    assert following((1.0, 1.0), moved) == (pytest.approx(0.8), pytest.approx(0.5**0.5))
    assert following((1.0, 0.5), moved, clipped=0.001) == (1.0, 0.5)
    assert following((0.1, 1.0), moved)[0] == pytest.approx(0.2)


def test_ranges_double_when_too_many_values_were_clipped():
    assert following((1.0, 0.5), np.zeros(10), clipped=FEW + 0.02) == (2.0, 1.0)


@pytest.mark.parametrize(
    ("survivors", "total", "largest", "share"),
    [(10, 160, 16, 0.1), (10, 10, 16, 0.1), (3, 18, 16, 16 / 18), (10, 20, 16, 0.55), (5, 5, 1, 0.2)],
)
def test_one_device_has_no_larger_share_than_the_largest_weight_and_one_for_each_other_leave_it(
    survivors: int, total: int, largest: int, share: float
):
    assert lone_share(survivors, total, largest) == pytest.approx(share)


@pytest.mark.parametrize("lone", [0.02, FEW, 0.6])
def test_what_one_device_can_have_said_alone_makes_no_range_grow(lone: float):
    """±c in every value and a fraction of 1, while the others clip as little as they may and want half the range."""
    others = np.full(10, 0.5)
    for sent, clipped in ((1.0, lone + 0.01 * (1 - lone)), (1.0, 0.0), (-1.0, 0.0)):
        mean = lone * np.full(10, sent) + (1 - lone) * np.sign(sent) * others
        assert max(following((1.0, 1.0), mean * (1 - 1e-6), clipped, lone)) <= 1.0
    wanted = lone + (1 - lone) * 0.51
    assert following((1.0, 1.0), np.full(10, wanted), lone=lone)[0] == pytest.approx(2 * wanted), "the others' own"


@pytest.mark.parametrize("alike", [0.0, 0.5, 0.99])
@pytest.mark.parametrize("scale", [1.0, 40.0], ids=["first too wide", "first too narrow"])
def test_ranges_settle_where_few_values_are_clipped_whether_updates_are_alike_or_not(alike: float, scale: float):
    """First ranges are 0.02; of 16 devices of equal weights."""
    rng, sigma = np.random.default_rng(1), 0.001 * scale
    common = rng.normal(0, sigma, 40_000)
    wide = msgspec.structs.replace(task(steps=20), tensors=(TensorSpec(name="a", shape=(40_000,)),))
    ranges, clipped = first_ranges(wide), []
    for _ in range(12):
        updates = [alike * common + (1 - alike**2) ** 0.5 * rng.normal(0, sigma, 40_000) for _ in range(16)]
        clipped.append(float(np.mean([np.abs(update) > ranges[0] for update in updates])))
        sent = [np.clip(update, -ranges[0], ranges[0]) for update in updates]
        ranges = next_ranges(wide, wide.turn(1), ranges, np.mean(sent, axis=0), clipped[-1], lone_share(16, 256, 16))
    assert max(clipped[6:]) < 1 / 16 + 0.01
    assert 1.8 * sigma < ranges[0] < 10 * sigma, "neither cut off nor coarse"
    if scale == 1:
        assert max(clipped) < 0.01
        assert 3 * sigma < ranges[0]


def test_ranges_stay_numbers_that_everybody_can_read_however_many_rounds_go_by():
    still, wild = (1.0, 1.0), (1.0, 1.0)
    for _ in range(1000):
        still = following(still, np.zeros(10))
        wild = following(wild, np.array(wild)[[0] * 6 + [1] * 4], clipped=1.0)
    assert still == (SMALLEST_RANGE,) * 2
    assert wild == (widest_range(UNIT),) * 2 == (16.0,) * 2


def test_a_published_mean_as_large_as_can_be_widens_no_range_beyond_sixteen_times_the_first():
    ranges = (1.0, 1.0)
    for _ in range(9):
        ranges = following(ranges, np.array(ranges)[[0] * 6 + [1] * 4])
    assert ranges == (16.0, 16.0)


def test_cohorts_count_by_their_weight():
    assert combine(iter([mean([1.0, 0.0], 1), mean([0.0, 4.0], 3)]), 2, 4).tolist() == [0.25, 3.0]


def test_fedavg_adds_the_mean_update_times_its_learning_rate():
    settings = ServerStep(learning_rate=0.5)
    following, state = OPTIMIZERS["fedavg"](settings).step(np.ones(2, np.float32), np.array([1.0, -2.0]), {})
    assert following.tolist() == [1.5, 0.0]
    assert following.dtype == np.float32
    assert not state


def plainly(settings: ServerStep, updates: list[float]) -> float:
    """The optimizers of Reddi et al., algorithm 2, and of Hsu et al., on one value, as they are written there."""
    x, m, v = 1.0, 0.0, settings.tau**2
    for delta in updates:
        match settings.optimizer:
            case "fedavgm":
                m = settings.beta1 * m + delta
                x += settings.learning_rate * m
                continue
            case "fedadam":
                v = settings.beta2 * v + (1 - settings.beta2) * delta**2
            case "fedyogi":
                v -= (1 - settings.beta2) * delta**2 * math.copysign(1, v - delta**2)
        m = settings.beta1 * m + (1 - settings.beta1) * delta
        x += settings.learning_rate * m / (math.sqrt(v) + settings.tau)
    return x


@pytest.mark.parametrize("optimizer", ["fedavgm", "fedadam", "fedyogi"])
def test_optimizers_follow_their_papers_over_rounds_and_keep_their_state_beside_each_version(
    optimizer: str, tmp_path: Path
):
    settings = ServerStep(optimizer=optimizer, learning_rate=0.1, beta1=0.8, beta2=0.9, tau=0.01)
    blobs, first = Blobs(tmp_path), adapter.write_adapter(TENSORS, np.ones(10, np.float32))
    blobs.write(adapter_key(adapter.version(first)), first)
    versions, updates = [adapter.version(first)], [0.5, -0.25, 0.125]
    for value in updates:
        made = publish(blobs, task(steps=1), 1, versions[-1], np.full(10, value), settings)
        versions.append(made.adapter)
    for count, version in enumerate(versions):
        _, vector = adapter.read_adapter(read_version(blobs, version))
        assert vector == pytest.approx(plainly(settings, updates[:count]), rel=1e-5)
    again = publish(blobs, task(steps=1), 1, versions[1], np.full(10, updates[1]), settings)
    assert again.adapter == versions[2], "a rollback goes on with the state that was there"
    blobs.write(state_key(versions[1], optimizer, "fedavg"), b"damaged")
    with pytest.raises(CorruptError, match=optimizer):
        publish(blobs, task(steps=1), 1, versions[1], np.zeros(10), settings)


def test_a_step_is_published_under_its_hash_and_leaves_the_old_version(tmp_path: Path):
    blobs, old = Blobs(tmp_path), adapter.write_adapter(TENSORS, np.arange(10, dtype=np.float32))
    blobs.write(adapter_key(adapter.version(old)), old)
    made = publish(blobs, task(steps=1), 1, adapter.version(old), np.full(10, 0.5), ServerStep())
    _, vector = adapter.read_adapter(read_version(blobs, made.adapter))
    assert np.array_equal(vector, np.arange(10) + 0.5)
    assert made.update_norm == pytest.approx(0.5 * 10**0.5)
    assert read_version(blobs, adapter.version(old)) == old
    again = publish(blobs, task(steps=1), 1, adapter.version(old), np.full(10, 0.5), ServerStep())
    assert again == made


def test_a_damaged_or_missing_version_is_named(tmp_path: Path):
    blobs, data = Blobs(tmp_path), adapter.write_adapter(TENSORS, np.zeros(10, np.float32))
    version = adapter.version(data)
    with pytest.raises(CorruptError, match="missing"):
        read_version(blobs, version)
    blobs.write(adapter_key(version), data[:-1] + b"x")
    with pytest.raises(CorruptError, match="damaged"):
        read_version(blobs, version)


def test_an_adapter_of_other_tensors_is_not_stepped_on(tmp_path: Path):
    blobs, data = Blobs(tmp_path), adapter.write_adapter(TENSORS[:1], np.zeros(6, np.float32))
    blobs.write(adapter_key(adapter.version(data)), data)
    with pytest.raises(ProtocolError, match="no tensor b"):
        publish(blobs, task(steps=1), 1, adapter.version(data), np.zeros(10), ServerStep())


def test_the_estimated_rounding_error_is_that_of_a_real_cohort_within_a_tenth():
    cohort = Cohort(5, dimension=20_000)
    session, devices = cohort.session(), cohort.devices
    slots = sum(plain_slots(session, device.update, device.randomness) for device in devices)
    opened = read_mean(session.quantizer, slots.astype(np.uint16), 5)
    weights = [session.quantizer.weight(device.update.examples) for device in devices]
    sizes = list(session.quantizer.sizes)
    clip = np.repeat(session.quantizer.clip, sizes)
    deltas = [device.update.delta.astype(float) for device in devices]
    sent = [np.clip(delta * (clip / np.maximum(clip, reach(delta, sizes))), -clip, clip) for delta in deltas]
    true = np.average(sent, axis=0, weights=weights)
    error = float(np.linalg.norm(opened.delta - true))
    estimate = rounding_error(session.quantizer, 5, opened.total_weight)
    assert abs(error / estimate - 1) < 0.1


def test_an_opened_sum_is_kept_and_read_back_and_a_damaged_file_is_refused():
    slots = np.arange(100, dtype=np.uint16)
    kept = encode_slots(slots)
    assert np.array_equal(decode_slots(kept), slots)
    with pytest.raises(SumError):
        decode_slots(kept[:-1])


@pytest.mark.parametrize(("text", "seconds"), [("20s", 20), ("30min", 1800), ("12h", 43200), ("1.5d", 129600)])
def test_durations_are_read(text: str, seconds: float):
    assert Seconds.parse(text) == seconds


@pytest.mark.parametrize("text", ["", "20", "20 minutes", "-1s", "0s", "1e3s", 20, None])
def test_what_is_no_duration_is_refused_with_examples(text: object):
    with pytest.raises(ValueError, match="30min"):
        Seconds.parse(text)


def test_durations_are_said_as_people_do():
    assert [in_words(s) for s in (40, 720, 12600, 172800)] == ["40 s", "12 min", "3.5 h", "2 days"]
