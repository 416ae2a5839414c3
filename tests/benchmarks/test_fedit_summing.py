"""Masks change nothing about a round's mean, and quantization no more than is predicted."""

import dataclasses

import numpy as np
import pytest

from agg_server.cohort import form
from agg_server.config import RoundRules
from agg_server.summing.clipping import first_ranges
from agg_server.summing.slot_size import LARGEST_ERROR, opening_bits
from benchmarks.fedit import summing
from benchmarks.fedit.settings import Federation
from benchmarks.fedit.summing import Round, Summed, _cohorts, add, first_bits
from fedit_shared.errors import UserError
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN
from fedit_shared.secagg import Update

TENSORS = (TensorSpec(name="lora_A", shape=(4, 500)), TensorSpec(name="lora_B", shape=(500, 4)))
TASK = TaskSpec(
    name="t", model=ModelRef(id="m"), adapter_config="{}", tensors=TENSORS, training=TrainingSettings(batch_size=64)
)
D = 4000


def updates(count: int) -> list[Update]:
    rng = np.random.default_rng(count)
    drawn = [rng.normal(0, 3e-4, D).astype(np.float32) for _ in range(count)]
    return [Update(delta, int(rng.integers(30, 600)), float(rng.uniform(1, 3))) for delta in drawn]


def summed(how: str, count: int, bits: int = 16) -> Summed:
    rules = Federation(rounds=1, sum=how, slot_bits=bits)  # type: ignore[arg-type]
    return add(updates(count), TASK, rules, Round(3, first_ranges(TASK), bytes(32), 7, bits))  # type: ignore[arg-type]


@pytest.mark.parametrize(("count", "bits"), [(3, 16), (8, 24)])
def test_the_masked_sum_is_bit_for_bit_the_quantized_one_in_several_cohorts_too(
    count: int, bits: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(summing, "COHORT_MAX", 4)  # 255 would take minutes
    masked, plain = summed("masked", count, bits), summed("quantized", count, bits)
    assert masked.update.tobytes() == plain.update.tobytes()
    assert masked.update.any()
    assert (masked.loss, masked.total_weight, masked.error, masked.upload) == (
        plain.loss,
        plain.total_weight,
        plain.error,
        plain.upload,
    )


@pytest.mark.parametrize(("count", "bits"), [(1, 16), (2, 16), (8, 16), (30, 16), (8, 24), (256, 16)])
def test_quantization_errs_as_predicted_and_not_in_the_weights(count: int, bits: int) -> None:
    quantized, exact = summed("quantized", count, bits), summed("exact", count)
    assert quantized.total_weight == exact.total_weight
    assert quantized.clipped == 0
    error = float(np.linalg.norm(quantized.update - exact.update))
    assert error / quantized.error == pytest.approx(1, abs=0.1)
    assert quantized.loss == pytest.approx(exact.loss, rel=0.02)


def test_more_updates_than_a_cohort_may_have_are_summed_in_the_cohorts_that_the_server_would_form() -> None:
    at = Round(3, first_ranges(TASK), bytes(32), 7, 16)
    cohorts = _cohorts(600, at)
    identities = {place.to_bytes(4, "big"): COHORT_MIN for place in range(600)}
    plan = form(identities, partition=bytes(32), smallest=COHORT_MIN, largest=COHORT_MAX)
    assert [len(places) for places in cohorts] == [len(members) for members in plan.cohorts] == [200, 200, 200]
    assert sorted(place for places in cohorts for place in places) == list(range(600))
    assert sorted(cohorts[0]) != list(range(200))
    assert cohorts != _cohorts(600, at._replace(number=4))
    assert first_bits(Federation(rounds=1), 600) == first_bits(Federation(rounds=1), 255)


def test_roundings_are_drawn_anew_each_round() -> None:
    rules = Federation(rounds=1)
    means = [
        add(updates(4), TASK, rules, Round(number, first_ranges(TASK), bytes(32), 7, 16)).update for number in (1, 2)
    ]
    assert (means[0] != means[1]).mean() > 0.3


def test_an_update_that_is_not_finite_is_refused() -> None:
    broken = [*updates(3), Update(np.full(D, np.nan, np.float32), 5, 1.0)]
    with pytest.raises(UserError, match="not finite"):
        add(broken, TASK, Federation(rounds=1), Round(1, first_ranges(TASK), bytes(32), 7, 16))


@pytest.mark.parametrize(("scale", "bits"), [(1.0, 16), (0.01, 24)])
def test_bits_follow_from_the_mean_as_the_server_chooses_them(scale: float, bits: int) -> None:
    rules = Federation(rounds=1, sum="quantized")
    assert rules.slot_bits == RoundRules().slot_bits == "auto"
    assert first_bits(rules, 4) == 16
    assert first_bits(rules, 255) == opening_bits(RoundRules(cohort_max=255), None)
    small = [dataclasses.replace(update, delta=np.float32(scale) * update.delta) for update in updates(4)]
    found = add(small, TASK, rules, Round(1, first_ranges(TASK), bytes(32), 7, 16))
    norm = float(np.linalg.norm(found.update))
    assert (found.error <= LARGEST_ERROR * norm) == (bits == 16)
    assert found.bits == bits
    assert (
        add(small, TASK, Federation(rounds=1, slot_bits=12), Round(1, first_ranges(TASK), bytes(32), 7, 12)).bits == 12
    )
