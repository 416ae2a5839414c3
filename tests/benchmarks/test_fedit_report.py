"""Intervals hold what they should hold as often as they say, and pairing by record makes differences sharp."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.fedit.journal import BASE, CENTRALIZED, FEDERATED, VERSION, Entry, Header, Judged
from benchmarks.fedit.kept import keep, losses_file, result_file
from benchmarks.fedit.report import summarize, table
from benchmarks.fedit.table import FEWER, NAME, SECTION, content, fewer, kept, section
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
        settings={
            "model": {"id": "m"},
            "data": {"files": ["f.jsonl"]},
            "evaluation": {"max_length": 64, "file": "g.jsonl"},
            "training": {"steps": 4, "batch_size": 8},
            "federation": {"max_weight": 16},
        },
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
    found = summary["from_local"]
    assert (found["start"], found["gap"]["value"]) == ("local 4", pytest.approx(0.1, abs=0.005))
    assert found["closed"]["value"] == pytest.approx(0.8, abs=0.02)
    assert found["closed"]["low"] <= 0.8 <= found["closed"]["high"]
    assert summary["arms"]["local 4"]["seconds"] == 5.0
    assert summary["differences"]["local 4 - federated"]["value"] == pytest.approx(0.08, abs=0.005)
    assert summary["differences"]["local 4 - federated"]["low"] > 0
    assert summary["differences"]["centralized - federated"]["high"] < 0
    whole, parts = summary["arms"][FEDERATED]["loss"], summary["arms"][FEDERATED]["by_category"]
    assert min(parts.values()) < whole < max(parts.values())
    for category, part in summary["differences"]["local 4 - federated"]["by_category"].items():
        assert part["low"] < part["value"] == pytest.approx(0.08, abs=0.01), category
    start = "the best local arm, at the end of equal tokens,"
    assert f"{start} to centralized, federated closes {found['closed']['value']:.0%}" in table(summary)
    worse = [entry for entry in entries if entry.arm not in (BASE, CENTRALIZED)]
    assert summarize(header, worse, 500, 1)["from_local"] is None


def test_of_a_gap_that_may_be_none_no_share_is_told() -> None:
    header, entries = journal()
    near = [entry for entry in entries if entry.arm not in ("local 0", "local 4")]
    near.append(Entry(arm="local 0", round=2, judged=drawn(1, 0.001)))  # the noise of a record is 20 times as large
    summary = summarize(header, near, 500, 1)
    gap = summary["from_local"]["gap"]
    assert gap["low"] < 0 < gap["high"]
    assert summary["from_local"]["closed"] is None
    assert "no gap of which a share could be told" in table(summary)


def test_who_learns_alone_is_also_held_against_the_federation_at_the_best_of_its_rounds() -> None:
    header, entries = journal()
    early = [entry for entry in entries if entry.arm == "local 0" and entry.round == 1]
    entries[entries.index(early[0])] = Entry(arm="local 0", round=1, judged=drawn(1, 0.05))
    best = summarize(header, entries, 500, 1)["local_at_best"]
    assert {arm: one["round"] for arm, one in best["arms"].items()} == {"local 0": 1, "local 4": 2}
    assert best["arms"]["local 0"]["value"] == pytest.approx(0.05 - 0.02, abs=0.01)
    assert best["arms"]["local 0"]["low"] > 0
    assert best["way"]["closed"]["value"] == pytest.approx((0.05 - 0.02) / 0.05, abs=0.05)
    told = table(summarize(header, entries, 500, 1))
    assert "local 0 after round 1 (" in told
    start = "the best local arm, stopped at its best judged round,"
    assert f"{start} to centralized, federated closes {best['way']['closed']['value']:.0%}" in told


def with_locals(first: float, last: float) -> list[Entry]:
    """Two rounds, of which the local arms had such a loss after the first and the second."""
    entries = [entry for entry in journal()[1] if not entry.arm.startswith("local")]
    return entries + [
        Entry(arm=arm, round=round_, judged=drawn(1, shift))
        for arm in ("local 0", "local 4")
        for round_, shift in ((1, first), (2, last))
    ]


def test_beside_the_share_from_overfit_clients_stand_the_fair_ones_and_the_reason() -> None:
    header, _ = journal()
    told = table(summarize(header, with_locals(first=0.06, last=1.0), 500, 1))
    [paragraph] = [each for each in told.split("\n\n") if "at the end of equal tokens" in each]
    assert "equal tokens, to centralized, federated closes 98% (" in paragraph  # 0.98 of 1.0
    assert "best judged round, to centralized, federated closes 6" in paragraph  # 0.04 of 0.06
    assert "the base model to centralized, federated closes 96% (" in paragraph
    assert "Every local arm ends worse than the base model" in paragraph
    for entries in (with_locals(first=0.06, last=0.3), with_locals(first=0.8, last=1.0)):  # base: 0.5
        assert "ends worse than the base model" not in table(summarize(header, entries, 500, 1))


def test_what_is_kept_is_the_summary_with_the_gap_as_a_number(tmp_path: Path) -> None:
    summary = summarize(*journal(), 500, 1)
    result: dict[str, Any] = json.loads(keep(summary, tmp_path / "new" / "kept.json").read_text())
    assert result["gap_closed"] == summary["from_local"]["closed"]["value"]
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
        figures = f"{values['loss']:.4f} | {values['low']:.4f} to {values['high']:.4f}"
        assert f"| {arm} | {values['round']} | {figures} |" in told
    assert "| held-out loss (records) | base | federated | centralized | local 0 | local 4 |" in told
    assert f"| a (100) | {result['arms'][BASE]['by_category']['a']:.3f} |" in told
    assert f"closes {result['gap_closed']:.0%}" in told
    assert "from the base model to centralized, federated closes 96% (" in told  # 0.48 of 0.5
    assert told.startswith("m on f.jsonl. Begun on 2026-01-01 ")
    assert "judged on 200 records, those of g.jsonl among them, 100 to 100 of a category. Every update" in told
    assert "at commit c0ffee: X, 2 cores, 24 GiB; torch 2.13.0." in told


def test_the_section_says_who_was_in_the_federation_whether_weights_differ_and_what_the_files_note_is() -> None:
    header, entries = journal()
    entries = [msgspec.structs.replace(e, clients=(0,) if e.arm == FEDERATED else e.clients) for e in entries]
    header = msgspec.structs.replace(header, holdings=({"a": 3},) * 7)
    summary = summarize(header, entries, 500, 1)
    assert summary["took_part"] == {"0": 2}
    told = section(summary | {"note": "Judged twice."})
    assert "client took part in: 2 (1 clients), none (6 clients); local 0: 2; local 4: none. " in told
    assert "Every update counts the same in spite of `max_weight = 16`" in told
    assert "nobody sees more than 4 steps × 8. Judged twice.\n" in told
    for training, most in (({"steps": 5, "batch_size": 8}, 16), ({"steps": None, "batch_size": 8}, 16)):
        settings = summary["settings"] | {"training": training, "federation": {"max_weight": most}}
        assert "counts the same" not in section(summary | {"settings": settings})


def test_the_goal_is_missed_where_it_is_missed_by_who_stops_in_time() -> None:
    header, _ = journal()
    told = section(summarize(header, with_locals(first=0.06, last=1.0), 500, 1))
    assert (
        "The goal was 80% from the best local arm: reached at the end of equal tokens, missed where they stop" in told
    )


def test_of_an_unfinished_run_each_row_says_its_round_and_that_it_is_not_finished() -> None:
    header, entries = journal()
    entries = [entry for entry in entries if entry.arm in (BASE, FEDERATED) or entry.round == 1]
    header = msgspec.structs.replace(header, rounds=3)
    entries.append(Entry(arm=FEDERATED, round=3))
    summary = summarize(header, entries, 500, 1)
    told = table(summary)
    assert "| federated | 2 |" in told
    assert "| local 0 | 1 |" in told
    assert "**Not finished**, in rounds: centralized after 1 of 3, local 0 after 1 of 3, local 4 after 1 of 3." in told
    assert "Not finished" not in table(summarize(*journal(), 500, 1))


def test_results_with_fewer_clients_stand_beside_the_others() -> None:
    summary = summarize(*journal(), 500, 1)
    told = fewer(summary)
    assert told.startswith("\n**With 2 clients** (`t`): m on f.jsonl. Begun on 2026-01-01 ")
    assert "the base model to centralized, federated closes 96% (" in told
    assert f"| federated | 2 | {summary['arms'][FEDERATED]['loss']:.4f} |" in told
    assert fewer(None) == ""


def test_what_pages_say_by_hand_is_what_was_kept() -> None:
    result = kept()
    assert result is not None
    base, best = (way["closed"]["value"] for way in (result["from_base"], result["local_at_best"]["way"]))
    answer = " ".join((SECTION.page.parent / "faq.md").read_text(encoding="utf-8").split())
    assert f"federated tuning went {100 * base:.0f} % of the way from the base model to centralized training" in answer
    assert f"and {100 * best:.0f} % of the way from the best of three who train alone and stop in time" in answer
    fewer_clients = kept(FEWER)
    assert fewer_clients is not None
    assert (fewer_clients["clients"], len(fewer_clients["local_at_best"]["arms"])) == (10, 3)
    assert all(fewer_clients["differences"][f"local {client} - {FEDERATED}"]["high"] < 0 for client in range(3))
    assert "With ten participants of 1,400 records each, three of three were better off alone at equal tokens" in answer
    page = " ".join(SECTION.page.read_text(encoding="utf-8").split())
    with losses_file(NAME).open(encoding="utf-8", newline="") as stream:
        columns = next(csv.reader(stream))
    for arm, one in result["local_at_best"]["arms"].items():
        rounds = [name.removeprefix(f"{arm}, round ") for name in columns if name.startswith(f"{arm}, ")]
        assert sorted(rounds) == ["1", "4", "8"]
        assert one["round"] == 1
    assert "Of the judged rounds, 1, 4 and 8, the first was the best for all three" in page


def test_the_page_shows_the_kept_results_or_says_that_there_are_none() -> None:
    assert SECTION.shows(content())
    assert result_file(NAME).exists() or "No run has been kept yet" in SECTION.page.read_text()


def test_records_whose_answers_were_cut_away_are_not_counted_among_those_judged() -> None:
    header, entries = journal()
    gone = {0, 2, 5}  # two of category a, one of b

    def without(judged: Judged) -> Judged:
        kept = [place not in gone for place in range(RECORDS)]
        return Judged(
            losses=tuple(loss * here for loss, here in zip(judged.losses, kept, strict=True)),
            tokens=tuple(tokens * here for tokens, here in zip(judged.tokens, kept, strict=True)),
        )

    cut = [msgspec.structs.replace(entry, judged=entry.judged and without(entry.judged)) for entry in entries]
    summary = summarize(header, cut, 500, 1)
    assert (summary["records"], summary["judged"]) == (RECORDS, {"a": 98, "b": 99})
    told = section(summary | {"gap_closed": None})
    assert "judged on 197 records, those of g.jsonl among them, 98 to 99 of a category; " in told
    assert "the answers of 3 more lie beyond 64 tokens." in told


@pytest.mark.parametrize("name", [NAME, FEWER])
def test_the_kept_figures_follow_from_the_kept_losses(name: str) -> None:
    """By means of its own: rows drawn one by one, not the counts that the report draws."""
    result = kept(name)
    assert result is not None
    with losses_file(name).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    tokens = np.array([float(row["tokens"]) for row in rows])
    drawn = np.random.default_rng(5).integers(0, len(rows), (4000, len(rows)))

    def column(arm: str, round_: int) -> NDArray[np.float64]:
        return np.array([float(row[f"{arm}, round {round_}"]) for row in rows])

    def holds(found: dict[str, float], name: str, losses: NDArray[np.float64], weights: NDArray[np.float64]) -> None:
        ratios = losses[drawn].sum(axis=1) / weights[drawn].sum(axis=1)
        low, high = np.percentile(ratios, [2.5, 97.5])
        assert found[name] == pytest.approx(losses.sum() / weights.sum(), abs=1e-4)
        assert [found["low"], found["high"]] == pytest.approx([low, high], abs=0.1 * (high - low))

    last = {arm: column(arm, values["round"]) for arm, values in result["arms"].items()}
    own, whole = last[FEDERATED], last[CENTRALIZED]
    for arm, values in result["arms"].items():
        holds(values, "loss", last[arm], tokens)
        if arm != FEDERATED:
            holds(result["differences"][f"{arm} - {FEDERATED}"], "value", last[arm] - own, tokens)
    best = min((arm for arm in last if arm.startswith("local")), key=lambda arm: last[arm].sum())
    assert result["from_local"]["start"] == best
    assert (result["from_local"]["closed"] is None) == (name == FEWER)
    if name == NAME:
        holds(result["from_local"]["closed"], "value", last[best] - own, last[best] - whole)
    holds(result["from_base"]["closed"], "value", last[BASE] - own, last[BASE] - whole)
    counts = Counter(row["category"] for row in rows if float(row["tokens"]))
    assert result["judged"] == counts
    if name == NAME:
        assert min(counts.values()) >= 50
        assert sum(counts.values()) >= 400
