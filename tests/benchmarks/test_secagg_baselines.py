"""The peers in the benchmark do what they are measured for: their sums are right."""

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest

from benchmarks.secagg import pairwise
from benchmarks.secagg.__main__ import FLOWER, ROOT
from benchmarks.secagg.scenario import CLIP, FULL, WEIGHT, Neighbours, safe_neighbours


@pytest.mark.parametrize("words", [np.uint16, np.uint32])
@pytest.mark.parametrize("dropped", [set(), {3}, {0, 4, 8}])
def test_the_pairwise_baseline_opens_the_exact_sum_of_the_survivors(words, dropped):
    n, d, plan = 9, 50_000, Neighbours(6, 3)
    slots = np.random.default_rng(1).integers(0, np.iinfo(words).max // n, (n, d)).astype(words)
    clients = pairwise.cohort(n, plan)
    total, alive = np.zeros(d, words), set(range(n)) - dropped
    for client in clients:
        peers = {peer: clients[peer].public for peer in pairwise.ring(client.index, n, plan.count)}
        masked = client.mask(slots[client.index].copy(), peers)
        assert np.count_nonzero(masked == slots[client.index]) < d / 100
        if client.index in alive:
            total += masked
    pairwise.unmask(total, clients, alive, plan)
    assert np.array_equal(total, slots[sorted(alive)].sum(axis=0))


def test_the_pairwise_baseline_rounds_to_a_step_without_bias():
    steps, delta = 31, np.random.default_rng(2).normal(0, CLIP, 200_000).astype(np.float32)
    slots = pairwise.quantize(delta, steps, bytes(16), np.uint16)
    value = np.clip(delta.astype(float), -CLIP, CLIP) * (WEIGHT * steps / CLIP) + WEIGHT * steps
    assert slots.max() <= 2 * WEIGHT * steps
    assert np.abs(slots - value).max() <= 1
    assert abs((slots - value).mean()) < 0.01


def test_fewer_shares_than_the_threshold_do_not_open_a_secret():
    shares = list(pairwise.split(bytes(range(32)), range(7), 4).values())
    assert pairwise.combine(shares[3:]) == bytes(range(32))
    assert pairwise.combine(shares[4:]) != bytes(range(32))


def test_the_baseline_gets_the_narrowest_words_that_hold_the_sum():
    assert pairwise.word_type(64, 31) is np.uint16
    assert pairwise.word_type(1000, 32) is np.uint32


def test_a_thousand_clients_need_182_neighbours_and_64_need_34():
    assert safe_neighbours(1000) == Neighbours(182, 109)
    assert safe_neighbours(64) == Neighbours(34, 22)


def test_a_thousand_clients_are_sixteen_cohorts_of_ours():
    assert sorted(FULL.cohorts) == [62] * 8 + [63] * 8


def test_flower_unmasks_the_mean_by_its_own_code_and_every_figure_of_it_is_measured():
    if not FLOWER.exists():
        pytest.skip("Flower is not installed: make bench-secagg does it")
    command = [str(FLOWER), "-m", "benchmarks.secagg.flower", "QUICK"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr  # it raises if Flower's mean is not the mean
    names = {figure["what"] for figure in json.loads(result.stdout)}
    assert {"client", "add", "unmask", "unmask, one whole run", "upload", "packets", "one mask"} <= names
    assert Path(FLOWER).is_file()
