"""The pairwise baseline, measured."""

import os
from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from numpy.typing import NDArray

from fedit_shared.parameters import levels

from . import pairwise
from .cohort import update
from .measure import Figure, peak, seconds
from .scenario import SLOT_BITS, WEIGHT, Scenario, safe_neighbours, survivors

SYSTEM = "pairwise"
UNIT = 64
"""Masks whose time makes the unit of larger counts."""


def figures(scenario: Scenario) -> Iterator[Figure]:
    """Everything that is measured of the baseline."""
    for d in scenario.dimensions:
        for n in (scenario.small, scenario.large):
            yield from _client(scenario, n, d)
            yield from _server(scenario, n, d)


def quantize_and_mask(delta: NDArray[np.float32], steps: int, words: pairwise.Word, masks: int) -> pairwise.Words:
    """What a client does to its vector; ``masks``: its own and one per neighbour."""
    slots = pairwise.quantize(delta, steps, os.urandom(16), words)
    pairwise.apply_masks(slots, fresh_masks(masks))
    return slots


def fresh_masks(count: int) -> list[tuple[bytes, int]]:
    """Keys and signs of ``count`` masks."""
    return [(os.urandom(16), (-1) ** place) for place in range(count)]


def _steps(scenario: Scenario, n: int) -> int:
    """L: as fine as ours for as many clients, in as many cohorts as ours."""
    return levels(n if n == scenario.small else scenario.cohorts[0], SLOT_BITS, WEIGHT)


def _client(scenario: Scenario, n: int, d: int) -> Iterator[Figure]:
    steps, plan = _steps(scenario, n), safe_neighbours(n)
    words, delta = pairwise.word_type(n, steps), update(d).delta
    figure = partial(Figure, system=SYSTEM, unit="s", d=d, n=n, k=plan.count)
    mask = partial(quantize_and_mask, delta, steps, words, plan.count + 1)
    yield figure("client", value=seconds(mask, scenario.budget))
    yield figure("upload", value=np.dtype(words).itemsize, unit="bytes a parameter")
    total, vector = np.zeros(d, words), quantize_and_mask(delta, steps, words, 1)
    yield figure("add", value=seconds(lambda: np.add(total, vector, out=total), scenario.budget))


def _server(scenario: Scenario, n: int, d: int) -> Iterator[Figure]:
    plan = safe_neighbours(n)
    total = np.zeros(d, pairwise.word_type(n, _steps(scenario, n)))
    if d == scenario.dimensions[0]:
        yield Figure("open a seed", SYSTEM, _opening(plan.threshold), "s", n=n, k=plan.count)
    for dropout in scenario.dropouts:
        figure = partial(Figure, system=SYSTEM, unit="s", d=d, k=plan.count, dropout=dropout)
        left = survivors(n, dropout)
        if n == scenario.small:
            unmask = partial(pairwise.unmask, total, pairwise.cohort(n, plan), set(range(left)), plan)
            value = seconds(unmask, scenario.budget)
            yield figure("unmask", value=value, n=n)
            parts, times = f"{scenario.large}/{n} × {value:.3g} s", scenario.large / n
            yield figure("unmask in cohorts", value=times * value, n=scenario.large, whole=False, parts=parts)
            continue
        pairs = (n - left) * (plan.count * left // n)
        unit = seconds(partial(pairwise.apply_masks, total, fresh_masks(UNIT)), scenario.budget) / UNIT
        opening, exchange = _opening(plan.threshold), _exchange()
        value = (left + pairs) * unit + n * opening + pairs * exchange
        parts = f"{left + pairs} masks × {unit:.3g} s + {n} secrets × {opening:.3g} s"
        yield figure("unmask", value=value, n=n, whole=False, parts=parts)


def _opening(threshold: int) -> float:
    secret = os.urandom(32)
    shares: Sequence[pairwise.Share] = list(pairwise.split(secret, range(threshold), threshold).values())
    return seconds(partial(pairwise.combine, shares), 0.2)


def _exchange() -> float:
    key, public = X25519PrivateKey.generate(), X25519PrivateKey.generate().public_key().public_bytes_raw()
    return seconds(lambda: pairwise.pair_masks(0, key, {1: public}), 0.2)


def peak_client(d: int) -> int:
    """Bytes that quantizing and masking take beside the update."""
    delta = update(d).delta
    quantize_and_mask(delta[:1], 1, np.uint16, 1)
    return peak(lambda: quantize_and_mask(delta, 1, np.uint16, UNIT))


def peak_server(d: int) -> int:
    """Bytes that a sum and its unmasking take."""
    quantize_and_mask(update(1).delta, 1, np.uint16, 1)
    return peak(lambda: pairwise.apply_masks(np.zeros(d, np.uint16), fresh_masks(UNIT)))
