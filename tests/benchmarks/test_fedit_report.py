"""Intervals hold what they should hold as often as they say, and pairing by record makes differences sharp."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, VERSION, Entry, Header, Judged
from benchmarks.fedit.kept import keep, result_file
from benchmarks.fedit.report import summarize, table
from benchmarks.fedit.table import NAME, SECTION, kept, section
from edge_client.evaluation.statistics import Draws
from fedit_shared.errors import UserError

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


SHIFTS = {"local 4": 0.1, BASE: 0.5, CENTRALIZED: 0.0, FEDERATED: 0.02, "local 0": 0.3}


def journal(rounds: int = 2) -> tuple[Header, list[Entry]]:
    """As workers in parallel leave it: in any order."""
    header = Header(
        name="t",
        key="k",
        version=VERSION,
        rounds=2,
        categories=tuple("ab"[place % 2] for place in range(RECORDS)),
        holdings=({"a": 3}, {"b": 4}),
        heterogeneity=0.5,
        machine={"date": "2026-01-01", "commit": "c0ffee", "cpu": "X", "cores": 2, "memory_gib": 23.5}
        | {"cards": [], "versions": {"torch": "2.13.0"}},
    )
    entries = [Entry(arm=BASE, round=0, judged=drawn(1, SHIFTS[BASE]))]
    trained = [arm for arm in SHIFTS if arm != BASE]
    entries += [Entry(arm=arm, round=1, seconds=2.0, judged=drawn(1, 9.0)) for arm in trained]
    if rounds == 2:
        entries += [Entry(arm=arm, round=2, tokens=70, seconds=3.0, judged=drawn(1, SHIFTS[arm])) for arm in trained]
    return header, entries


def test_the_summary_says_what_each_arm_reached_and_which_share_of_the_gap_is_closed() -> None:
    header, entries = journal()
    summary = summarize(header, entries, 500, 1)
    assert list(summary["arms"]) == [BASE, FEDERATED, CENTRALIZED, "local 0", "local 4"]
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


def test_who_learns_alone_is_also_held_against_the_federation_at_the_best_of_its_rounds() -> None:
    header, entries = journal()
    early = [entry for entry in entries if entry.arm == "local 0" and entry.round == 1]
    entries[entries.index(early[0])] = Entry(arm="local 0", round=1, judged=drawn(1, 0.05))
    best = summarize(header, entries, 500, 1)["local_at_best"]
    assert {arm: one["round"] for arm, one in best["arms"].items()} == {"local 0": 1, "local 4": 2}
    assert best["arms"]["local 0"]["value"] == pytest.approx(0.05 - 0.02, abs=0.01)
    assert best["arms"]["local 0"]["low"] > 0
    assert best["gap_closed"]["value"] == pytest.approx((0.05 - 0.02) / 0.05, abs=0.05)
    told = table(summarize(header, entries, 500, 1))
    assert "local 0 after round 1 (" in told
    assert f"federated closes {best['gap_closed']['value']:.0%}" in told.splitlines()[-1]


def test_what_is_kept_is_the_summary_with_the_gap_as_a_number(tmp_path: Path) -> None:
    summary = summarize(*journal(), 500, 1)
    result: dict[str, Any] = json.loads(keep(summary, tmp_path / "new" / "kept.json").read_text())
    assert result["gap_closed"] == summary["gap_closed"]["value"]
    assert result["gap_closed_interval"][0] <= result["gap_closed"] <= result["gap_closed_interval"][1]
    assert set(result["arms"]["local 4"]) >= {"loss", "low", "high", "by_category", "tokens", "uploaded", "seconds"}
    assert {"differences", "machine", "settings", "key", "clients", "records"} <= set(result)


def test_a_run_that_is_not_finished_is_not_kept(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not finished: federated, centralized, local 0, local 4"):
        keep(summarize(*journal(rounds=1), 500, 1), tmp_path / "kept.json")
    assert not list(tmp_path.iterdir())


def test_the_section_of_a_run_shows_every_arm_category_and_the_gap(tmp_path: Path) -> None:
    result = json.loads(keep(summarize(*journal(), 500, 1), tmp_path / "kept.json").read_text())
    told = section(result)
    for arm, values in result["arms"].items():
        assert f"| {arm} | {values['loss']:.4f} | {values['low']:.4f} to {values['high']:.4f} |" in told
    assert "| held-out loss | base | federated | centralized | local 0 | local 4 |" in told
    assert f"| a | {result['arms'][BASE]['by_category']['a']:.3f} |" in told
    assert f"closes {result['gap_closed']:.0%}" in told
    assert "from the base model to centralized, federated goes 96%" in told  # 0.48 of 0.5
    assert "at commit c0ffee: X, 2 cores, 24 GiB; torch 2.13.0." in told


def test_the_page_shows_the_kept_results_or_says_that_there_are_none() -> None:
    assert SECTION.shows(section(kept()))
    assert result_file(NAME).exists() or "No run has been kept yet" in SECTION.page.read_text()
