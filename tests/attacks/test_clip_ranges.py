"""A server that names clip ranges to its liking: sums of numbers that are nothing but ±w can be taken apart, so devices
send next to none of them."""

import itertools
import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, EDGE_SHARE, levels
from fedit_shared.quantize import Quantizer, read_slots

SIZE = 20_000
EXAMPLES = {3: (90, 200, 500), 5: (180, 280, 345, 380, 410)}
"""Records of each device that make weights of which no two selections have the same sum: 3, 7, 16, for one."""


def deltas(members: int) -> list[NDArray[np.float32]]:
    rng = np.random.default_rng(members)
    return [rng.normal(0, 0.01, SIZE).astype(np.float32) for _ in range(members)]


def sent(quantizer: Quantizer, delta: NDArray[np.float32], examples: int) -> NDArray[np.int64]:
    """The slots of one device's values, as it masks them."""
    rows = -(-(SIZE + 3) // quantizer.row_slots)
    words = np.random.default_rng(examples).integers(0, 2**32, (rows, quantizer.row_slots), np.uint32)
    packed, slots = np.empty((rows, DEGREE), np.uint64), np.empty(SIZE + 3, np.uint32)
    quantizer.prepare(delta, examples, 1.0).rows(0, words, packed)
    assert read_slots(quantizer, 0, packed, slots)
    return slots[:SIZE].astype(np.int64)


@pytest.mark.parametrize("clip", [1e-300, 1e-6, 0.002, 0.01])
@pytest.mark.parametrize("members", EXAMPLES)
def test_no_clip_range_makes_a_sum_of_signs_that_could_be_taken_apart(members: int, clip: float) -> None:
    quantizer = Quantizer((SIZE // 2, SIZE // 2), (clip, clip), 16, levels(members, 16, 16), 16)
    weights = [quantizer.weight(examples) for examples in EXAMPLES[members]]
    pairs = list(zip(deltas(members), EXAMPLES[members], strict=True))
    total = sum(sent(quantizer, delta, examples) for delta, examples in pairs)
    edges = {
        2 * quantizer.levels * sum(itertools.compress(weights, positive)): positive
        for positive in itertools.product((False, True), repeat=members)
    }
    assert len(edges) == 2**members, "every selection of these weights has a sum of its own"
    guesses = [(place, edges[value]) for place, value in enumerate(total.tolist()) if value in edges]
    right = sum(
        all((delta[place] > 0) == up for (delta, _), up in zip(pairs, guess, strict=True)) for place, guess in guesses
    )
    assert right <= 0.005 * SIZE


@pytest.mark.parametrize("clip", [1e-300, 0.001, 0.0232, 0.03])
def test_of_a_hundred_values_of_a_tensor_at_most_one_is_at_the_edge_of_its_range(clip: float) -> None:
    quantizer = Quantizer((SIZE // 2, SIZE // 2), (clip, 1.0), 16, levels(3, 16, 16), 16)
    (delta, *_) = deltas(3)
    slots = sent(quantizer, delta, 500)[: SIZE // 2]
    top = 16 * quantizer.levels
    assert ((slots == 0) | (slots == 2 * top)).sum() <= SIZE // 2 // EDGE_SHARE + 5, "a few more are rounded up to it"


def test_what_was_scaled_down_still_counts_in_its_direction_and_is_told_as_clipped() -> None:
    quantizer = Quantizer((SIZE // 2, SIZE // 2), (0.001, 1.0), 16, levels(3, 16, 16), 16)
    (delta, *_) = deltas(3)
    slots = sent(quantizer, delta, 500)
    half = SIZE // 2
    values = slots[:half] - 16 * quantizer.levels
    assert np.corrcoef(values, delta[:half])[0, 1] > 0.99, "clipped to ±0.001 as they are, it would be 0.84"
    other = (slots[half:] / (16 * quantizer.levels) - 1) * 1.0
    np.testing.assert_allclose(other, delta[half:], atol=1.01 / (16 * quantizer.levels))
    clipped = quantizer.prepare(delta, 500, 1.0).clipped
    assert clipped == pytest.approx((np.abs(delta[:half]) > 0.001).sum() / SIZE)


@pytest.mark.parametrize("size", [1, 2, 99, 100, 101, 5_000])
@pytest.mark.parametrize("kind", ["normal", "ties", "tiny", "wide"])
def test_the_range_that_is_scaled_to_is_just_the_value_that_the_protocol_names(size: int, kind: str) -> None:
    rng = np.random.default_rng(size)
    delta = {
        "normal": rng.normal(0, 0.01, size),
        "ties": rng.choice([-0.5, 0.0, 0.25], size),
        "tiny": rng.integers(-9, 9, size) * 2.0**-149,
        "wide": rng.choice([-1, 1], size) * 2.0 ** rng.uniform(-149, 127, size),
    }[kind].astype(np.float32)
    largest = sorted(np.abs(delta).astype(float), reverse=True)[size // EDGE_SHARE]
    quantized = Quantizer((size,), (1e-300,), 16, 7, 16).prepare(delta, 512, 1.0)
    assert quantized.scale.tolist() == [16 * 7 / max(1e-300, largest)]


def test_a_tensor_that_is_scaled_down_takes_no_copy_of_it() -> None:
    """A device of little memory has to mask whatever range the server names."""
    delta = np.ones(2**21, np.float32)
    quantizer = Quantizer((delta.size,), (0.01,), 16, 7, 16)
    quantizer.prepare(delta[:1].repeat(delta.size), 512, 1.0)
    tracemalloc.start()
    quantizer.prepare(delta, 512, 1.0)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**20
