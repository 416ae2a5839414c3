"""What quantization adds to the mean, at the default settings with 64 clients: predicted, and below one per cent."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from simulated import Simulated

from agg_server.config import RoundRules
from agg_server.summing.clipping import combined_error, first_ranges, lone_share, next_ranges, rounding_error
from agg_server.summing.slot_size import Bits, Summed, following_bits, opening_bits
from agg_server.watching.metrics import Metrics
from benchmarks.demo.plain import reach
from fedit_shared.adapter import size
from fedit_shared.errors import ProtocolError
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings
from fedit_shared.parameters import DEGREE, EXTRA_SLOTS, levels
from fedit_shared.quantize import Mean, Quantizer, read_mean, read_slots

CLIENTS = 64
RULES = RoundRules()
TRAINING = TrainingSettings()
TENSORS = (TensorSpec(name="lora_A", shape=(8, 500)), TensorSpec(name="lora_B", shape=(500, 8)))
TASK = TaskSpec(name="t", model=ModelRef(id="m"), adapter_config="{}", tensors=TENSORS, training=TRAINING)
D = size(TENSORS)


def adam(gradient: NDArray[np.float64], steps: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """How far Adam (Kingma & Ba 2015) goes in so many steps on noisy gradients with this mean."""
    first, second, moved = np.zeros((3, D))
    for step in range(1, steps + 1):
        noisy = gradient + rng.normal(0, 3, D)
        first = 0.9 * first + 0.1 * noisy
        second = 0.999 * second + 0.001 * noisy**2
        moved -= TRAINING.learning_rate * (first / (1 - 0.9**step)) / np.sqrt(second / (1 - 0.999**step))
    return moved.astype(np.float32)


def trained(rng: np.random.Generator, records: tuple[int, int] = (30, 1000)) -> list[tuple[NDArray[np.float32], int]]:
    """Update and number of records of each client: one epoch each, on gradients of which a part is common to all."""
    common = rng.normal(0, 1, D) * np.repeat([0.3, 1.0], D // 2)  # lora_A moves less than lora_B, which begins at zero
    made = []
    for examples in rng.integers(*records, CLIENTS):
        own = common + rng.normal(0, 1, D)
        made.append((adam(own, -(-int(examples) // TRAINING.batch_size), rng), int(examples)))
    return made


def opened(quantizer: Quantizer, updates: list[tuple[NDArray[np.float32], int]], rng: np.random.Generator) -> Mean:
    """The mean that comes out of the real quantization of these updates and the real reading of their sum."""
    rows = -(-(D + EXTRA_SLOTS) // quantizer.row_slots)
    total = np.zeros((rows, DEGREE), np.uint64)
    for delta, examples in updates:
        words = rng.integers(0, 2**32, (rows, quantizer.row_slots), np.uint32)
        row = np.empty((rows, DEGREE), np.uint64)
        quantizer.prepare(delta, examples, 1.5).rows(0, words, row)
        total += row
    slots = np.empty(D + EXTRA_SLOTS, np.uint32)
    assert read_slots(quantizer, 0, total, slots)
    return read_mean(quantizer, slots, CLIENTS)


FEWEST = 30
"""So many records make a weight of 1: slots that are made for 16 are mostly empty."""


@pytest.mark.parametrize(
    ("records", "heaviest", "bits"),
    [
        ((FEWEST, FEWEST + 1), RULES.max_weight, [16, 16, 16]),
        ((30, 1000), 16, [16, 16, 16, 16]),
        ((FEWEST, FEWEST + 1), 16, [16, 24, 24, 24]),
    ],
    ids=["default", "many of 16", "few of 16"],
)
def test_with_64_clients_it_is_below_one_per_cent_and_as_predicted_round_after_round(
    records: tuple[int, int], heaviest: int, bits: list[Bits]
) -> None:
    """Where devices weigh by few records it is not in the first round: there, no published mean tells yet how large it
    will be."""
    assert RULES.slot_bits == "auto"
    assert opening_bits(RULES, None) == bits[0]
    rng = np.random.default_rng(1)
    ranges = first_ranges(TASK)
    for now, following in pairwise(bits):
        sizes = tuple(D // 2 for _ in TENSORS)
        quantizer = Quantizer(sizes, ranges, now, levels(CLIENTS, now, heaviest), heaviest)
        updates = trained(rng, records)
        mean = opened(quantizer, updates, rng)
        each = np.repeat(ranges, sizes)
        sent = [delta * (each / np.maximum(each, reach(delta, list(sizes)))) for delta, _ in updates]
        weights = [quantizer.weight(examples) for _, examples in updates]
        true = np.average([np.clip(delta, -each, each) for delta in sent], axis=0, weights=weights)
        error, norm = float(np.linalg.norm(mean.delta - true)), float(np.linalg.norm(mean.delta))
        predicted = rounding_error(quantizer, CLIENTS, mean.total_weight)
        assert error / predicted == pytest.approx(1, abs=0.05)
        assert (predicted < 0.01 * norm) == (now == following)
        assert following_bits([Summed(quantizer, CLIENTS, CLIENTS, mean.total_weight)], norm) == following
        lone = lone_share(CLIENTS, mean.total_weight, RULES.max_weight)
        ranges = next_ranges(TASK, TASK.turn(1), ranges, mean.delta, mean.clipped, lone)


def test_bits_follow_the_last_published_mean_and_survive_failed_rounds_and_restarts(tmp_path: Path) -> None:
    sim = Simulated(tmp_path, count=8, cohort_target=8, max_weight=256)
    assert sim.round.opened.rules.slot_bits == 16
    told = sim.finished(sim.whole_round())
    assert told.relative_error is not None
    assert told.relative_error > 0.01
    assert sim.round.opened.rules.slot_bits == 24
    sim.restart()
    assert sim.round.number == told.round + 1, "what was opened is not abandoned for other settings"
    assert sim.round.opened.rules.slot_bits == 24
    sim.muster(*sim.devices)
    assert sim.cohort.settings.slot_bits == 24
    sim.wait(sim.round.opened.rules.contribute_window)
    assert sim.round.number == told.round + 2
    assert sim.round.opened.rules.slot_bits == 24, "as before a round that published nothing"
    fine = sim.finished(sim.whole_round())
    assert fine.relative_error is not None
    assert fine.relative_error < 0.001
    assert sim.round.opened.rules.slot_bits == 24, "16 would still be too few"
    fixed = sim.reopened(slot_bits=16)
    assert fixed.round.opened.rules.slot_bits == 16


def test_sums_that_16_bits_cannot_hold_get_24_from_the_first_round_on(tmp_path: Path) -> None:
    rules = RoundRules(cohort_max=255, max_weight=256)
    with pytest.raises(ProtocolError):
        levels(255, 16, 256)
    assert opening_bits(rules, None) == 24
    narrow = Quantizer((4,), (1.0,), 24, levels(255, 24, 256), 256)
    assert following_bits([Summed(narrow, 255, 255, 255)], 1e9) == 24


def test_errors_of_cohorts_add_as_independent_ones_do():
    assert combined_error([(0.3, 10)]) == pytest.approx(0.3)
    assert combined_error([(0.3, 10), (0.4, 10)]) == pytest.approx(0.25)
    assert combined_error([(0.3, 30), (0.4, 10)]) == pytest.approx((9**2 + 4**2) ** 0.5 / 40)


def test_each_round_keeps_it_and_tells_it_as_a_metric(tmp_path: Path):
    sim = Simulated(tmp_path, count=8, cohort_target=8, cohort_max=5)
    told = sim.finished(sim.whole_round())
    assert told.outcome == "published"
    assert len(told.cohorts) == 2
    errors = [(cohort.quantization_error or 0.0, cohort.total_weight) for cohort in told.cohorts]
    assert told.quantization_error == pytest.approx(combined_error(errors))
    assert told.mean_norm == pytest.approx(told.update_norm, rel=1e-4)
    assert told.relative_error is not None
    assert 0 < told.relative_error < 0.2
    metrics = Metrics()
    metrics.published(told)
    assert f"fedit_quantization_error_ratio {told.relative_error}" in metrics.page().decode()
