"""The benchmark of a server under load, on a few devices: whether what it tells is so, not how fast."""

from pathlib import Path

import msgspec
import numpy as np
import pytest
from safetensors.numpy import save_file

from benchmarks.load.__main__ import Limits, measure, summary
from benchmarks.load.crowd import RoundFigures, fate, phase_means
from benchmarks.load.device import Device, Fate, Share
from benchmarks.load.exact import is_exact, plain_sum
from benchmarks.load.operator import quantile, total
from benchmarks.load.scenario import QUICK
from benchmarks.load.table import SECTION, newest, section

SCENARIO = QUICK._replace(contribute_window=2)


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> tuple[Limits, list[RoundFigures], list[dict[str, Share]]]:
    """A run, and what each device of each round put in."""
    shares: list[dict[str, Share]] = []
    patch = pytest.MonkeyPatch()
    take_part = Device.take_part

    async def noted(self: Device, after: int, ends: object) -> Share | None:
        share = await take_part(self, after, ends)  # type: ignore[arg-type]
        if share is not None:
            shares[after][self.identity.hex()] = share
        return share

    patch.setattr(Device, "take_part", noted)
    shares += [{} for _ in range(SCENARIO.rounds)]
    limits, figures = measure(SCENARIO, tmp_path_factory.mktemp("load"))
    patch.undo()
    return limits, figures, shares


def test_every_round_is_played_with_real_uploads_and_its_sums_are_exact(
    measured: tuple[Limits, list[RoundFigures], list[dict[str, Share]]],
) -> None:
    limits, figures, shares = measured
    assert [one.round for one in figures] == [1, 2]
    for one, put_in in zip(figures, shares, strict=True):
        assert one.exact
        assert one.cohorts == SCENARIO.cohorts
        assert one.dealt == one.summed == len(put_in) < SCENARIO.devices  # some have vanished, and only those
        assert one.upload_bytes > 2.6 * SCENARIO.dimension * one.dealt
        assert one.requests >= 6 * one.dealt
        assert one.refused == one.troubles == 0
        assert {"muster", "contribute", "prepare", "vote", "answer"} <= one.phases.keys()
        assert one.phases["contribute"] > SCENARIO.contribute_window / 2  # whoever has vanished is waited for
        assert 0 < one.upload_seconds < one.seconds
        assert one.peak_mb > 50
    assert limits.disk_mb_per_second > 0
    assert limits.loopback_mb_per_second > 0
    told = summary(SCENARIO, figures)
    assert told["clients"] == SCENARIO.devices
    assert told["sums_exact"]
    assert not summary(SCENARIO, [figures[0], msgspec.structs.replace(figures[1], exact=False)])["sums_exact"]


def test_a_sum_that_is_off_by_one_update_is_noticed(
    measured: tuple[Limits, list[RoundFigures], list[dict[str, Share]]], tmp_path: Path
) -> None:
    first = next(iter(measured[2][0].values()))
    cohort = {name: share for name, share in measured[2][0].items() if share.session.sid == first.session.sid}
    told = {"survivors": sorted(cohort), "sum": str(tmp_path / "sum.safetensors")}
    slots = plain_sum(list(cohort.values()))
    save_file({"slots": slots}, tmp_path / "sum.safetensors")
    assert is_exact(told, cohort)
    save_file({"slots": slots + (np.arange(slots.size) == 7).astype(np.uint64)}, tmp_path / "sum.safetensors")
    assert not is_exact(told, cohort)
    save_file({"slots": slots}, tmp_path / "sum.safetensors")
    assert not is_exact(told | {"survivors": sorted(cohort)[1:]}, cohort)


def test_the_section_tells_what_was_measured(
    measured: tuple[Limits, list[RoundFigures], list[dict[str, Share]]],
) -> None:
    limits, figures, _ = measured
    machine = {"date": "2026-01-01", "commit": "c0ffee", "cpu": "X", "cores": 2, "memory_gib": 24.0, "load": 0.1,
               "python": "3.11.7", "versions": {"numpy": "2.4"}}  # fmt: skip
    result = msgspec.json.decode(
        msgspec.json.encode({"machine": machine, "scenario": SCENARIO._asdict(), "limits": limits, "rounds": figures})
    )
    told = section(result, result)
    assert "| sums, all exact | 2 | 2 |" in told
    assert f"| updates in them | {figures[0].summed} | {figures[1].summed} |" in told
    assert "12 devices, d = 20,000, one in 5 vanishes" in told
    assert "| 2 rounds | round 1 | round 2 |" in told
    assert "All 2 sums: all exact." in told
    result["rounds"][1]["exact"] = False
    assert section(result, result).count("NOT all exact") == 2


def test_the_page_shows_the_newest_results_or_says_that_there_are_none() -> None:
    assert SECTION.shows(section(newest("load"), newest("soak")))


@pytest.mark.parametrize("round", [1, 2, 3])
def test_one_in_five_of_a_cohort_vanishes_half_of_them_before_their_receipt_and_others_each_round(round: int) -> None:
    ends = [fate(SCENARIO, round)(place) for place in range(60)]
    assert ends.count(Fate.VANISHES_UNHEARD) == ends.count(Fate.VANISHES_COUNTED) == 6
    assert ends != [fate(SCENARIO, round + 1)(place) for place in range(60)]
    assert {fate(SCENARIO._replace(vanish=0), round)(place) for place in range(60)} == {Fate.ENDS}


def test_metrics_are_summed_over_labels_and_a_quantile_is_of_what_came_between() -> None:
    before = {'lag_bucket{le="0.1"}': 10.0, 'lag_bucket{le="1.0"}': 10.0, 'lag_bucket{le="+Inf"}': 10.0}
    after = {'lag_bucket{le="0.1"}': 108.0, 'lag_bucket{le="1.0"}': 110.0, 'lag_bucket{le="+Inf"}': 110.0}
    assert quantile(before, after, "lag", 0.98) == 0.1
    assert quantile(before, after, "lag", 0.99) == 1.0
    assert total({'x_total{a="1"}': 2.0, 'x_total{a="2"}': 3.0, "x_totals": 9.0}, "x_total") == 5.0
    phase = {'fedit_phase_seconds_sum{phase="vote"}': 6.0, 'fedit_phase_seconds_count{phase="vote"}': 3.0}
    assert phase_means({}, phase) == {"vote": 2.0}
