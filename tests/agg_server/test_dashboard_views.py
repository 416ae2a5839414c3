"""What the dashboard's pages say, made of a ledger in each phase; and charts."""

import asyncio
import itertools
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from dashboard import plain
from simulated import Simulated, make_config

from agg_server.config import RoundRules
from agg_server.dashboard.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Point, chart, has_dots
from agg_server.dashboard.moment import look_at
from agg_server.dashboard.pages import about
from agg_server.dashboard.rendering import Rendering, moment
from agg_server.dashboard.rendering import size as size_of
from agg_server.dashboard.views import devices, glance, rounds, timeline
from agg_server.dashboard.views.awaited import Awaited, awaited
from agg_server.dashboard.views.words import CAUSES, COHORT_PHASES, ROUND_PHASES, status
from agg_server.rounds import causes
from agg_server.rounds.events import CohortsFormed, Event, FormedCohort, Outcome
from agg_server.rounds.report import report
from agg_server.rounds.state import Phase
from agg_server.rounds.words import describe
from agg_server.store import Device, Journal
from agg_server.template import meanings
from fedit_shared.parameters import CohortParameters

MINUTE = 60.0


@pytest.fixture
def sim(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, count=5, cohort_min=3)


def told(sim: Simulated) -> Awaited:
    [only] = awaited(look_at(sim.ledger, sim.now))
    return only


def test_what_is_awaited_is_said_in_every_phase_with_the_time_until_which_it_is(sim: Simulated):
    start, somebody = sim.now, sim.devices
    assert told(sim) == Awaited(
        "3 devices that finish their training (0 devices have the task); the others then have 30 min", None
    )
    sim.muster(somebody[0])
    what = "2 more devices that finish their training, 1 of the least 3 are here; the others then have 30 min"
    assert told(sim) == Awaited(what, None)
    sim.wait(31 * MINUTE)
    assert told(sim) == Awaited(what, None), "they are too few for the window to begin"
    sim.muster(*somebody[1:])
    what = "other devices that may finish in time; 5 are here, 3 suffice"
    assert told(sim) == Awaited(what, start + 61 * MINUTE)
    sim.wait(30 * MINUTE)
    name, since = sim.cohort.id.hex()[:8], sim.now
    assert told(sim) == Awaited(f"cohort {name}: uploads, 0 of 5 are here (3 are needed)", since + 30 * MINUTE)
    sim.contribute(*somebody)
    assert told(sim) == Awaited(f"cohort {name}: reports, 0 of 5 are here (4 suffice)", sim.cohort.prepare_until)
    sim.report(*somebody)
    assert told(sim) == Awaited(f"cohort {name}: votes, 0 of 4 are here", sim.cohort.not_after)
    sim.vote(*somebody)
    sim.answer(somebody[0])
    assert told(sim) == Awaited(f"cohort {name}: answers, 1 of 4 are here", sim.cohort.not_after)


def test_a_finished_federation_awaits_nothing_and_since_is_when_the_phase_began(tmp_path: Path):
    sim = Simulated(tmp_path, count=3, cohort_min=3, cohort_target=3, rounds=1)
    opened, words = sim.now, sim.config.federation.finish

    def shown() -> glance.Now:
        return glance.now(look_at(sim.ledger, sim.now), words if sim.round.phase is Phase.OVER else "")

    sim.wait(60)
    assert shown().since == opened
    sim.muster(*sim.devices)
    sim.wait(60)
    assert shown().since == pytest.approx(opened + 60)
    for step in (sim.contribute, sim.report, sim.vote, sim.answer):
        step(*sim.devices)
    assert sim.round.phase is Phase.OVER
    sim.wait(60)
    over = shown()
    assert (over.since, over.explained, over.awaited) == (opened + 120, ROUND_PHASES["over"], [])
    page = Rendering({"federation": "x"}).text("glance_now.html", {"now": over})
    assert "Nothing: the federation has finished" in page
    assert "to open" not in page


@pytest.mark.parametrize("size", [3, 6])
def test_so_few_are_in_a_sum_as_the_page_and_the_settings_say_and_no_fewer(tmp_path: Path, size: int):
    rendering = Rendering({"federation": "x"})

    async def show(visit: object, template: str, **values: object) -> str:
        return rendering.text(template, values | {"navigation": [], "here": "", "csrf": ""})

    def outcome(folder: Path, uploads: int) -> str | None:
        folder.mkdir()
        sim = Simulated(folder, count=size, cohort_min=size)
        sim.muster(*sim.devices)
        sim.wait(30 * MINUTE)
        sim.contribute(*sim.devices[:uploads])
        sim.wait(30 * MINUTE)
        return sim.finished(1).outcome

    site: Any = SimpleNamespace(config=make_config(0, {"cohort_min": size}), show=show)
    page = str(asyncio.run(about.knows(site, None)))  # type: ignore[arg-type]
    told = {int(members): int(least) for members, least in re.findall(r"of (\d+), at least (\d+)", page)}
    assert set(told) == {size, 64}
    assert outcome(tmp_path / "enough", told[size]) is None, "it goes on"
    assert outcome(tmp_path / "too few", told[size] - 1) == "abandoned"
    [words] = [meaning.words for meaning in meanings() if meaning.keys[0] == "cohort_min"]
    pairs = re.findall(r"(\d+) of (\d+)", words)
    assert len(pairs) == 5
    assert all(CohortParameters(int(members)).floor == int(least) for least, members in pairs)


def test_with_a_target_the_devices_that_are_missing_are_counted_against_it(tmp_path: Path):
    sim = Simulated(tmp_path, count=5, cohort_min=3, cohort_target=5)
    start = sim.now
    sim.muster(*sim.devices[:4])
    what = "1 more device that finishes its training, 4 of 5 are here"
    assert told(sim) == Awaited(what, start + 30 * MINUTE)


def test_a_cohort_that_is_given_up_waits_for_votes_beside_the_others(tmp_path: Path):
    sim = Simulated(tmp_path, count=6, cohort_min=3, cohort_max=3, cohort_target=6)
    sim.muster(*sim.devices)
    there = [device for device in sim.devices if device.cohort == sim.devices[0].cohort]
    sim.contribute(*there)
    sim.wait(30 * MINUTE)
    names = {cohort.hex()[:8] for cohort in sim.round.cohorts}
    here = there[0].cohort.hex()[:8]
    [gone] = names - {here}
    assert {item.what for item in awaited(look_at(sim.ledger, sim.now))} == {
        f"cohort {here}: reports, 0 of 3 are here (3 suffice)",
        f"cohort {gone}: votes that no update is used, 0 of 3 are here",
    }


def test_each_device_is_shown_at_the_last_step_that_it_took(tmp_path: Path):
    sim = Simulated(tmp_path, count=5, cohort_min=3, cohort_target=5)
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:3])
    shown = glance.now(look_at(sim.ledger, sim.now))
    steps = {group.step: group.shown for group in shown.steps}
    keys = [device.identity.hex() for device in sim.devices]
    assert steps == {"in a cohort": keys[3:], "uploaded": keys[:3]}
    [cohort] = shown.cohorts
    assert (cohort.members, cohort.uploads, cohort.summed, cohort.answers) == (5, 3, None, 0)


def test_history_adds_up_drops_bytes_and_outcomes_and_has_no_loss_where_nothing_was_published(tmp_path: Path):
    sim = Simulated(tmp_path, count=5, cohort_min=3, cohort_target=5)
    sim.whole_round()
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:4])
    sim.wait(30 * MINUTE)
    helpers = sim.devices[:4]
    sim.report(*helpers)
    sim.vote(*helpers)
    sim.answer(*helpers)
    with sim.database.begin() as connection:
        reports = Journal().recent_reports(connection, 10)
    assert [report.round for report in reports] == [1, 2, 3]
    history = glance.history(reports)
    assert [count for _, count in history.outcomes] == [2, 0, 0]
    assert history.drops == [glance.DropLine("contribute", CAUSES["no_upload"], 1)]
    assert history.uploaded == sum(len(c.dealt) * c.upload_bytes for report in reports for c in report.cohorts) > 0
    loss, norm, sent = history.figures
    assert [point.value for point in loss.points] == [report.cohorts[0].loss for report in reports[:2]]
    assert [point.value for point in norm.points] == [report.update_norm for report in reports[:2]]
    assert [point.round for point in sent.points] == [1, 2], "the third is under way"
    assert glance.history([]).figures[0].chart is None


def test_a_rounds_timeline_has_each_phase_once_and_in_order(tmp_path: Path):
    sim = Simulated(tmp_path, count=6, cohort_min=3, cohort_max=3, cohort_target=6)
    sim.wait(60)
    sim.whole_round()
    with sim.database.begin() as connection:
        turning = Journal().events_of_kinds(connection, 1, timeline.TURNING)
        spans = Journal().spans(connection, 1)
    page = rounds.round_page(sim.finished(1), turning, spans)
    assert [bar.phase for bar in page.bars] == ["training", *list(timeline.PHASES[1:]) * 2]
    assert page.bars[0].seconds == 60
    assert all(0 <= bar.x <= bar.x + bar.width <= timeline.WIDTH + 2 for bar in page.bars)
    assert [happening.time for happening in page.happenings] == sorted(h.time for h in page.happenings)
    whats = [happening.what for happening in page.happenings]
    assert whats[0] == "Opened on adapter version 0, sums of 16 bits"
    assert "6 devices uploaded" in whats
    assert not page.pruned
    assert rounds.round_page(sim.finished(1), [], {}).pruned


def test_the_page_of_a_round_counts_nobody_before_its_sum_is_opened_nor_where_it_failed(tmp_path: Path):
    sim = Simulated(tmp_path, count=5, cohort_min=3, cohort_target=5)

    def page() -> str:
        told = report(live, sim.now) if (live := sim.ledger.live(1)) else sim.finished(1)
        with sim.database.begin() as connection:
            turning = Journal().events_of_kinds(connection, 1, timeline.TURNING)
            seen = rounds.round_page(told, turning, Journal().spans(connection, 1))
        given = {"round": seen, "phases": timeline.PHASES, "width": timeline.WIDTH}
        return plain(
            Rendering({"federation": "x"}).text("round.html", given | {"navigation": [], "here": "", "csrf": ""})
        )

    silent, voted = (device.identity.hex()[:16] for device in sim.devices[:2])
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[1:])
    sim.wait(20)
    sim.vote(*sim.devices[1:])
    sim.answer(*sim.devices[2:])
    shown = page()
    assert "In the sum –" in shown
    assert "5 uploads, 5 on the list of survivors, 3 answers" in shown
    assert f"{silent} answer silent after its upload is in no sum" in shown
    assert [c.summed for c in glance.now(look_at(sim.ledger, sim.now)).cohorts] == [None]
    sim.wait(13 * 60 * MINUTE)
    shown = page()
    assert "In the sum 0" in shown
    assert "5 uploads, 5 on the list of survivors, 3 answers" in shown
    assert f"{silent} answer silent after its upload is in no sum" in shown
    assert f"{voted} answer did not answer is in no sum" in shown
    assert rounds.line(sim.finished(1)).summed == 0
    assert [line.reason for line in glance.history([sim.finished(1)]).drops] == [CAUSES["no_answer"], CAUSES["silent"]]


def test_turning_points_are_the_events_that_the_log_has_words_for(tmp_path: Path):
    sim = Simulated(tmp_path, count=5, cohort_min=3, cohort_target=5)
    sim.whole_round()
    with sim.database.begin() as connection:
        everything = Journal().events_of(connection, 1)
    described = {type(recorded.event) for recorded in everything if describe(recorded.event) is not None}
    assert described <= set(timeline.TURNING)
    assert all(describe(r.event) is None for r in everything if not isinstance(r.event, timeline.TURNING))
    assert all(issubclass(kind, Event) for kind in timeline.TURNING)


def test_the_newest_reports_are_read_by_the_page(tmp_path: Path):
    sim = Simulated(tmp_path, count=3, cohort_target=3)
    for _ in range(4):
        sim.whole_round()
    with sim.database.reading() as connection:
        journal = Journal()
        assert [r.round for r in journal.recent_reports(connection, 2)] == [4, 5]
        assert [r.round for r in journal.recent_reports(connection, 2, before=4)] == [2, 3]
        assert journal.recent_reports(connection, 2, before=1) == []
        assert journal.report_of(connection, 3) == sim.finished(3)
        assert journal.report_of(connection, 9) is None


def test_who_reads_for_a_page_keeps_nobody_from_writing(sim: Simulated):
    with sim.database.reading() as connection:
        before = Journal().last_event(connection)
        sim.muster(sim.devices[0])
        assert Journal().last_event(connection) == before, "it sees one moment"
    with sim.database.reading() as connection:
        assert Journal().last_event(connection) > before


def test_every_phase_cause_and_outcome_has_words_and_a_mark():
    assert set(CAUSES) == {*causes.Cause.__args__}  # type: ignore[attr-defined]
    assert {phase.value for phase in Phase} <= set(ROUND_PHASES) | set(COHORT_PHASES)
    marks = {status(outcome).mark for outcome in Outcome.__args__}  # type: ignore[attr-defined]
    assert len(marks) == len(Outcome.__args__), "shapes differ, not colours alone"  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "value", [lambda i: 2.5 - 0.01 * i, lambda i: 1e-7 * (i + 1), lambda i: 0.0, lambda i: -3e9 * i, lambda i: 7.0]
)
@pytest.mark.parametrize("count", [1, 2, 7, 100])
def test_a_chart_stays_in_its_frame_and_its_grid_holds_all_values(value: Callable[[int], float], count: int):
    drawn = chart([Point(1000 + i, value(i)) for i in range(count)])
    assert drawn is not None
    assert len(drawn.dots) == count
    for dot in drawn.dots:
        assert LEFT <= dot.x <= WIDTH - RIGHT
        assert TOP - 0.1 <= dot.y <= HEIGHT - BOTTOM + 0.1
    assert 2 <= len(drawn.across) <= 6
    assert len({tick.label for tick in drawn.across}) == len(drawn.across)
    assert drawn.along[0].label == "1000"
    assert has_dots(drawn) == (count <= 60)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([131000, 197000], ["125k", "150k", "175k", "200k"]),
        ([3e8, 9e8], ["0.2G", "0.4G", "0.6G", "0.8G", "1.0G"]),
        ([99, 101, 210], ["50", "100", "150", "200", "250"]),
        ([0.0655, 0.069], ["0.064", "0.066", "0.068", "0.070"]),
        ([0.005927, 0.0041], ["0.004", "0.005", "0.006"]),
        ([0.0, 3e-5], ["0", "1e-05", "2e-05", "3e-05"]),
        ([0.0012, 0.0012012], ["1.2000m", "1.2005m", "1.2010m", "1.2015m"]),
    ],
)
def test_labels_are_written_out_in_one_unit(values: list[float], labels: list[str]):
    drawn = chart([Point(i, value) for i, value in enumerate(values)])
    assert drawn is not None
    assert [tick.label for tick in drawn.across] == labels


def test_labels_say_where_their_line_is_and_fit_beside_the_chart():
    drawn_from = random.Random(5)
    units = {"n": 1e-9, "µ": 1e-6, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
    for _ in range(2000):
        low = 10 ** drawn_from.uniform(-8, 14)
        high = low * (1 + 10 ** drawn_from.uniform(-6, 3))
        drawn = chart([Point(1, low), Point(2, high)])
        assert drawn is not None
        labels = [tick.label for tick in drawn.across]
        told = [float(label.rstrip("nµmkMGT")) * units.get(label[-1], 1.0) for label in labels]
        assert max(map(len, labels)) <= 8, labels
        assert told[0] <= low * (1 + 1e-9), labels
        assert told[-1] >= high * (1 - 1e-9), labels
        steps = [after - before for before, after in itertools.pairwise(told)]
        assert steps == pytest.approx([steps[0]] * len(steps), rel=1e-6), labels


def test_higher_values_are_drawn_higher_and_gaps_stay_gaps():
    drawn = chart([Point(1, 1.0), Point(2, None), Point(3, 3.0), Point(4, math.nan), Point(9, 2.0)])
    assert drawn is not None
    first, third, last = drawn.dots
    assert third.y < last.y < first.y
    assert drawn.line.count("M") == 3
    assert chart([Point(1, None)]) is None
    assert chart([]) is None
    bars = chart([Point(1, 5.0), Point(2, 10.0)], from_zero=True)
    assert bars is not None
    assert bars.dots[1].height == pytest.approx(2 * bars.dots[0].height, abs=0.2)


def test_a_clients_version_is_shown_short_and_all_of_it_can_be_seen():
    odd = Device(identity=bytes(32), status="active", joined=0.0, client_version="1.0\u200b" + "x" * 400)
    assert odd.client == "1.0�" + "x" * 35 + "…"
    assert devices.line(odd).client == odd.client
    assert devices.line(msgspec.structs.replace(odd, client_version=None)).client == "–"


def test_one_is_one():
    formed = CohortsFormed(cohorts=(FormedCohort(cohort=b"", roster=b"", settings=b"", signature=b""),), left_out={})
    assert describe(formed) == "the muster is over: 1 cohort, 0 devices left out"


def test_numbers_for_people():
    assert [size_of(n) for n in (0, 999, 1000, 47_741_952, 3.05e9, 9.9996e11, 2e15)] == [
        "0 bytes", "999 bytes", "1 kB", "47.7 MB", "3.05 GB", "1 TB", "2e+03 TB",
    ]  # fmt: skip
    assert moment(1_900_000_000.0) == "2030-03-17 17:46:40Z"
    assert moment(None) == "never"


def test_the_page_of_what_a_server_knows_has_the_number_of_records_where_devices_weigh_by_them_and_only_there():
    always = {"federation": "test", "version": "1"}
    given = {"navigation": (), "here": "", "csrf": "", "strategy": "fedavg", "floors": (3, 33)}
    equal, weighed = (
        plain(Rendering(always).text("knows.html", given | {"rules": RoundRules(max_weight=most)})) for most in (1, 16)
    )
    known, missing = "How many records each device has, in steps of 32, up to 512", "How many records they have: every"
    assert (known in equal, missing in equal) == (False, True)
    assert (known in weighed, missing in weighed) == (True, False)
