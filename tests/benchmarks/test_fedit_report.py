"""Intervals hold what they should hold as often as they say, and pairing by record makes differences sharp."""

import numpy as np
import pytest

from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, VERSION, Entry, Header, Judged
from benchmarks.fedit.report import summarize, table
from benchmarks.fedit.statistics import Draws

RECORDS = 200


def drawn(seed: int, shift: float = 0.0) -> Judged:
    """Records as hard as they are; ``shift`` nats a token are added to each, with a little noise."""
    hard = np.random.default_rng(1000 + seed)
    tokens = hard.integers(5, 150, RECORDS)
    noise = np.random.default_rng([seed, round(1000 * shift)]).normal(0, 0.02, RECORDS)
    losses = tokens * (hard.normal(2.6, 0.8, RECORDS) + shift + noise)
    return Judged(losses=tuple(losses.tolist()), tokens=tuple(tokens.tolist()))


def test_a_95_per_cent_interval_holds_the_true_loss_in_about_95_of_100_cases() -> None:
    held = 0
    for seed in range(300):
        judged = drawn(seed)
        interval = Draws(RECORDS, 400, 1).interval(judged.losses, judged.tokens)
        held += interval.low <= 2.6 <= interval.high
    assert 0.90 <= held / 300 <= 0.99


def test_paired_by_record_a_difference_is_known_much_better_than_either_loss() -> None:
    draws, one, other = Draws(RECORDS, 1000, 1), drawn(1, 0.03), drawn(1)
    alone = draws.interval(one.losses, one.tokens)
    paired = draws.difference(one.losses, other.losses, one.tokens)
    assert paired.low < 0.03 < paired.high
    assert paired.high - paired.low < 0.1 * (alone.high - alone.low)
    assert paired.low > 0 > alone.low - draws.interval(other.losses, other.tokens).high


def test_the_summary_says_what_each_arm_reached_and_which_share_of_the_gap_is_closed() -> None:
    shifts = {BASE: 0.5, FEDERATED: 0.02, CENTRALIZED: 0.0, "local 0": 0.3, "local 4": 0.1}
    header = Header(
        name="t",
        key="k",
        version=VERSION,
        rounds=2,
        categories=tuple("ab"[place % 2] for place in range(RECORDS)),
        holdings=({"a": 3}, {"b": 4}),
        heterogeneity=0.5,
    )
    entries = [Entry(arm=arm, round=1, seconds=2.0, judged=drawn(1, 9.0)) for arm in shifts]
    entries += [Entry(arm=arm, round=2, tokens=70, seconds=3.0, judged=drawn(1, at)) for arm, at in shifts.items()]
    summary = summarize(header, entries, 500, 1)
    assert summary["gap_closed"]["value"] == pytest.approx(0.8, abs=0.02)
    assert summary["gap_closed"]["low"] <= 0.8 <= summary["gap_closed"]["high"]
    assert summary["arms"]["local 4"]["seconds"] == 5.0
    assert summary["differences"]["local 4 - federated"]["value"] == pytest.approx(0.08, abs=0.005)
    assert summary["differences"]["local 4 - federated"]["low"] > 0
    assert summary["differences"]["centralized - federated"]["high"] < 0
    whole, parts = summary["arms"][FEDERATED]["loss"], summary["arms"][FEDERATED]["by_category"]
    assert min(parts.values()) < whole < max(parts.values())
    assert f"closes {summary['gap_closed']['value']:.0%}" in table(summary)
    worse = [entry for entry in entries if entry.arm not in (BASE, CENTRALIZED)]
    assert summarize(header, worse, 500, 1)["gap_closed"] is None
