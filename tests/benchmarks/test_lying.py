"""The figures of the threat model's "How much lying a round bears" are those of the committed trials."""

import json
import random
from pathlib import Path

import pytest

from benchmarks.lying import by_trying_all, greedily, searched, tangled

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs" / "threat-model.md").read_text().split())
RESULT = json.loads((ROOT / "benchmarks" / "results" / "lying.json").read_text())
TRIALS = {row["members"]: row for row in RESULT["trials"]}


def test_the_page_says_how_good_the_search_was():
    assert all(not row["search_worse"] for members, row in TRIALS.items() if members <= 32)
    worse = {members: TRIALS[members]["search_worse"] for members in (64, 128)}
    assert all(TRIALS[members]["trials"] == 100 for members in worse)
    assert max(row["search_short_by"] for row in TRIALS.values()) == 1
    assert f"one update short in {worse[64]} of 100 trials with 64 members and in {worse[128]} with 128" in PAGE


def test_the_page_says_what_the_greedy_way_loses():
    lost, gave_up = (
        max(100 * row[what] / row["trials"] for row in TRIALS.values())
        for what in ("greedy_lost_updates", "greedy_gave_up")
    )
    assert f"lost an update in up to {lost:.1f} % of trials" in PAGE
    assert f"could be summed in up to {gave_up:.1f} %" in PAGE


def test_the_page_says_how_long_it_takes():
    (largest,) = (row for row in RESULT["cpu seconds"] if row["members"] == 255)
    assert f"{largest['longest search']:.1f} s with 255 members" in PAGE
    assert f"takes {largest['decoding lies in turn']:.1f} s of one core" in PAGE


@pytest.mark.parametrize("size", [5, 6, 7, 10])
def test_nothing_does_better_than_trying_everything(size: int):
    rng = random.Random(size)
    for _ in range(20):
        edges = tangled(size, rng)
        best = by_trying_all(size, edges)
        assert max(searched(size, edges), greedily(size, edges)) <= best
