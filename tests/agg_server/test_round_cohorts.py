"""Cohorts, driven by hand: who is waited for, for how long, and what becomes of the round."""

from hashlib import sha256
from pathlib import Path

import msgspec
import numpy as np
import pytest
from simulated import Simulated

from agg_server.rounds import Phase
from agg_server.rounds.effects import forsake
from agg_server.rounds.events import (
    Answered,
    ContributeClosed,
    Dealt,
    Mustered,
    Offered,
    Reported,
    SumOpened,
    SurvivorsOffered,
    Voted,
)
from agg_server.rounds.report import report
from fedit_shared.errors import ConflictError, FeditError, ForgedError, NotFoundError
from fedit_shared.parameters import PRIMES
from fedit_shared.secagg.bodies import AnswerBody, decode_survivors

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def sim(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, 5, cohort_target=5)


def phases(sim: Simulated) -> list[Phase]:
    return [cohort.phase for cohort in sim.round.cohorts.values()]


def test_uploads_close_when_everybody_has_dealt_else_at_their_deadline(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:4])
    assert phases(sim) == [Phase.CONTRIBUTE]
    sim.wait(30 * MINUTE)
    assert phases(sim) == [Phase.PREPARE]
    drops = report(sim.round, sim.now).dropped
    assert [(drop.device, drop.phase) for drop in drops] == [(sim.devices[4].identity.hex(), "contribute")]


def test_a_late_deal_is_refused(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:4])
    late = sim.make_deal(sim.devices[4])
    sim.wait(30 * MINUTE)
    with pytest.raises(ConflictError):
        sim.record(late)


def test_reports_are_awaited_from_all_who_dealt_but_no_longer_than_the_grace_once_enough_are_in(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[:3])
    sim.wait(HOUR)
    assert phases(sim) == [Phase.PREPARE]
    sim.report(sim.devices[3])
    sim.wait(19)
    assert phases(sim) == [Phase.PREPARE]
    sim.wait(1)
    assert phases(sim) == [Phase.VOTE]
    assert len(sim.cohort.survivors) == 5


def test_the_last_report_of_those_who_dealt_ends_the_waiting_at_once(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:4])
    sim.wait(30 * MINUTE)
    sim.report(*sim.devices[:4])
    assert phases(sim) == [Phase.VOTE]
    assert len(sim.cohort.survivors) == 4


def test_a_member_that_did_not_deal_may_report_vote_and_answer(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:4])
    sim.wait(30 * MINUTE)
    helpers = sim.devices[1:]  # the first has gone after its upload
    sim.report(*helpers)
    sim.wait(20)
    sim.vote(*helpers)
    sim.answer(*helpers)
    told = sim.finished(1)
    assert told.outcome == "published"
    assert len(told.cohorts[0].survivors) == 4
    gone = {(drop.device, drop.phase) for drop in told.dropped}
    assert gone == {(sim.devices[0].identity.hex(), "answer"), (sim.devices[4].identity.hex(), "contribute")}


def test_a_whole_round_publishes_the_mean_and_opens_the_next_on_it(sim: Simulated):
    before = sim.round.opened.adapter
    sim.whole_round()
    told = sim.finished(1)
    assert told.outcome == "published"
    assert told.dropped == []
    assert sim.round.number == 2
    assert sim.round.opened.version == 1
    assert sim.round.opened.adapter != before


def test_too_few_uploads_end_the_round_at_once_and_members_can_still_vote_their_updates_free(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:2])
    sim.wait(30 * MINUTE)
    told = sim.finished(1)
    assert (told.outcome, sim.round.number, sim.round.opened.version) == ("abandoned", 2, 0)
    assert "2 of 5 uploads" in told.reason
    sim.vote(*sim.devices[:4])
    [cohort] = sim.finished(1).cohorts
    assert cohort.outcome == "abandoned"
    assert sim.ledger.live(1) is None
    result = sim.ledger.result_for(1, sim.devices[0].identity)
    assert result is not None
    assert (result.outcome, result.survivors, result.adapter) == ("abandoned", b"", sim.round.opened.adapter)
    assert len(result.certificate) == 4 * 96


def test_a_given_up_cohort_without_enough_votes_fails_when_nobody_may_answer_any_more(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[:2])
    sim.wait(30 * MINUTE)
    sim.vote(*sim.devices[:3])
    assert sim.ledger.live(1) is not None
    sim.wait(13 * HOUR)
    assert sim.ledger.live(1) is None
    result = sim.ledger.result_for(1, sim.devices[0].identity)
    assert result is not None
    assert (result.outcome, result.certificate) == ("failed", b"")


def test_without_enough_reports_the_cohort_is_given_up_while_there_is_time_left_to_vote_on_that(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[:3])
    sim.wait(7 * HOUR)
    told = sim.finished(1)
    assert told.outcome == "abandoned"
    assert "3 of 4 reports" in told.reason
    assert sim.now < sim.cohort_of(sim.devices[0]).not_after


@pytest.mark.parametrize("step", ["vote", "answer"])
def test_too_few_votes_or_answers_fail_the_round_when_nobody_may_answer_any_more(sim: Simulated, step: str):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    if step == "answer":
        sim.vote(*sim.devices)
        sim.answer(*sim.devices[:3])
    else:
        sim.vote(*sim.devices[:3])
    sim.wait(11 * HOUR)
    assert sim.round.number == 1
    sim.wait(2 * HOUR)
    assert sim.finished(1).outcome == "failed"
    assert sim.round.opened.version == 0


def gone(sim: Simulated) -> dict[str, tuple[str, str]]:
    """Who is named as dropped in the first round: key → phase and cause."""
    told = report(sim.ledger.live(1), sim.now) if sim.ledger.live(1) else sim.finished(1)  # type: ignore[arg-type]
    assert len({drop.device for drop in told.dropped}) == len(told.dropped)
    return {drop.device: (drop.phase, drop.cause) for drop in told.dropped}


def test_a_round_that_fails_names_everybody_whose_answer_it_lacked_and_counts_nobody(sim: Simulated):
    silent, voted, *others = [device.identity.hex() for device in sim.devices]
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[1:])
    sim.wait(20)
    assert gone(sim) == {silent: ("answer", "silent")}
    sim.vote(*sim.devices[1:])
    sim.answer(*sim.devices[2:])
    assert gone(sim) == {silent: ("answer", "silent")}, "an answer may still come"
    sim.wait(13 * HOUR)
    told = sim.finished(1)
    assert (told.outcome, told.reason) == ("failed", "3 of 4 answers came")
    assert gone(sim) == {silent: ("answer", "silent"), voted: ("answer", "no_answer")}
    assert (told.summed, told.counted) == (0, frozenset())
    assert len(told.cohorts[0].survivors) == 5
    assert not {*others} & gone(sim).keys()


def test_a_round_that_fails_at_its_vote_names_everybody_who_did_not_vote(sim: Simulated):
    lost, silent, no_vote, *_ = [device.identity.hex() for device in sim.devices]
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices[1:])
    sim.wait(30 * MINUTE)
    sim.report(sim.devices[0], *sim.devices[2:])
    sim.wait(20)
    sim.vote(*sim.devices[3:])
    sim.wait(13 * HOUR)
    assert sim.finished(1).reason == "2 of 4 votes came"
    assert gone(sim) == {
        lost: ("contribute", "no_upload"),
        silent: ("answer", "silent"),
        no_vote: ("vote", "no_vote"),
    }


def test_a_round_that_is_given_up_for_want_of_reports_names_who_sent_none(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[:3])
    assert gone(sim) == {}
    sim.wait(7 * HOUR)
    assert "3 of 4 reports" in sim.finished(1).reason
    assert gone(sim) == {device.identity.hex(): ("prepare", "silent") for device in sim.devices[3:]}


def test_a_member_whose_report_was_lost_but_who_voted_is_not_called_silent(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices[:4])
    sim.wait(20)
    sim.vote(*sim.devices[1:])
    sim.answer(*sim.devices[1:])
    told = sim.finished(1)
    assert told.outcome == "published"
    assert told.dropped == []
    assert (told.summed, told.counted) == (5, {device.identity.hex() for device in sim.devices})


def test_when_the_server_was_put_back_nobody_is_named_for_the_answers_that_it_no_longer_waits_for(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    sim.vote(*sim.devices)
    sim.answer(*sim.devices[:3])
    for event in forsake(sim.round, "put back"):
        sim.record(event, 1)
    assert sim.finished(1).outcome == "failed"
    assert gone(sim) == {}


def test_an_answer_on_the_last_day_still_opens_the_sum(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    sim.vote(*sim.devices)
    sim.answer(*sim.devices[:3])
    sim.wait(12 * HOUR)
    sim.answer(sim.devices[3])
    assert sim.finished(1).outcome == "published"


def test_a_false_answer_is_outvoted_by_later_ones(tmp_path: Path):
    sim = Simulated(tmp_path, 7, cohort_target=7)
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    sim.vote(*sim.devices)
    lie = np.frombuffer(sim.make_answer(sim.devices[0]).words, "<u4").copy()
    lie[0] = (lie[0] + 1) % PRIMES[0]
    answered = sim.make_answer(sim.devices[0])
    session = sim.session_of(sim.devices[0])
    body = AnswerBody(session.sid, answered.survivors_hash, 1, sha256(lie.tobytes()).digest())
    sim.record(
        Answered(
            cohort=answered.cohort,
            identity=answered.identity,
            survivors_hash=answered.survivors_hash,
            words=lie.tobytes(),
            signature=sim.devices[0].key.sign("answer", body.encode()),
        )
    )
    sim.answer(*sim.devices[1:5])
    assert sim.round.number == 1  # five answers open a key, but not this sum
    sim.answer(sim.devices[5])
    assert sim.round.number == 1  # six show that somebody lies
    sim.answer(sim.devices[6])
    told = sim.finished(1)
    assert told.outcome == "published"
    assert told.cohorts[0].suspects == [sim.devices[0].identity.hex()]


def test_several_cohorts_make_one_step_weighted_by_what_they_sum(tmp_path: Path):
    sim = Simulated(tmp_path, 9, cohort_target=9, cohort_max=5)
    sim.muster(*sim.devices)
    assert sorted(len(c.session.identities) for c in sim.round.cohorts.values()) == [4, 5]
    for step in (sim.contribute, sim.report, sim.vote, sim.answer):
        step(*sim.devices)
    told = sim.finished(1)
    assert told.outcome == "published"
    assert [cohort.outcome for cohort in told.cohorts] == ["published", "published"]


def test_a_failed_cohort_does_not_take_the_others_with_it(tmp_path: Path):
    sim = Simulated(tmp_path, 9, cohort_target=9, cohort_max=5)
    sim.muster(*sim.devices)
    lost, kept = sim.round.cohorts.values()
    there = [device for device in sim.devices if device.identity in kept.session.identities]
    assert lost.id != kept.id
    sim.contribute(*there)
    sim.wait(30 * MINUTE)
    for step in (sim.report, sim.vote, sim.answer):
        step(*there)
    told = sim.finished(1)
    assert told.outcome == "published"
    assert {c.outcome for c in told.cohorts} == {"published", None}
    assert {drop.phase for drop in told.dropped} == {"contribute"}


def test_messages_after_a_cohorts_end_are_accepted_and_change_nothing(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    sim.vote(*sim.devices)
    late = sim.make_answer(sim.devices[4])
    sim.answer(*sim.devices[:4])
    assert sim.round.number == 2
    sim.record(late)
    with pytest.raises(NotFoundError):
        sim.record(msgspec.structs.replace(late, identity=bytes(32)))


def test_an_event_out_of_its_phase_is_refused_and_changes_nothing(sim: Simulated):
    """Every kind of message, taken from a whole round, is sent again in every phase of the next round's cohort."""
    sim.muster(*sim.devices)
    cohort = sim.cohort.id
    filler: dict[str, object] = {"cohort": cohort, "identity": sim.devices[0].identity}
    signed = filler | {"signature": bytes(64)}
    too_early = [
        Reported(report=b"", **signed),
        Voted(survivors_hash=bytes(32), **signed),
        Answered(survivors_hash=bytes(32), words=b"", **signed),
        SurvivorsOffered(cohort=cohort, survivors=b""),
        SumOpened(cohort=cohort, total_weight=1, loss=1.0, clipped=0.0, quantization_error=0.0),
        Mustered(identity=bytes(32), body=bytes(146), round_key=bytes(1216), signature=bytes(64)),
        Offered(identity=bytes(32)),
    ]
    before = report(sim.round, sim.now)
    for event in too_early:
        with pytest.raises(ConflictError):
            sim.record(event)
    assert report(sim.round, sim.now) == before
    sim.contribute(*sim.devices)
    before = report(sim.round, sim.now)
    with pytest.raises(ConflictError):
        sim.record(ContributeClosed(cohort=cohort))
    with pytest.raises(ConflictError):
        sim.record(Dealt(cohort=cohort, identity=sim.devices[0].identity, body=bytes(128), signature=bytes(64)))
    assert report(sim.round, sim.now) == before


def test_forged_messages_are_refused_and_change_nothing(sim: Simulated):
    sim.muster(*sim.devices)
    deal = sim.make_deal(sim.devices[0])
    with pytest.raises(FeditError):
        sim.record(msgspec.structs.replace(deal, identity=sim.devices[1].identity))
    with pytest.raises(ForgedError):
        sim.record(msgspec.structs.replace(deal, signature=bytes(64)))
    assert not sim.cohort.aggregator.receipts


def test_a_second_list_of_survivors_is_never_offered(sim: Simulated):
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    survivors = sim.cohort.aggregator.survivors
    assert survivors is not None
    assert len(decode_survivors(survivors)) == 5
    with pytest.raises(ConflictError):
        sim.record(SurvivorsOffered(cohort=sim.cohort.id, survivors=survivors[:-64]))
    assert sim.cohort.aggregator.survivors == survivors


def test_the_state_folded_from_the_journal_is_the_state_that_was_left_at_every_point_of_a_round(tmp_path: Path):
    sim = Simulated(tmp_path, 5, cohort_target=5)
    steps = [
        lambda: sim.muster(*sim.devices[:3], settle=False),
        lambda: sim.muster(*sim.devices[3:], settle=False),
        sim.settle,
        lambda: sim.contribute(*sim.devices[:4], settle=False),
        lambda: sim.wait(30 * MINUTE),
        lambda: sim.report(*sim.devices[:4], settle=False),
        sim.settle,
        lambda: sim.vote(*sim.devices[:4], settle=False),
        lambda: sim.answer(*sim.devices[:4], settle=False),
        sim.settle,
    ]
    for step in steps:
        step()
        left = report(sim.round, sim.now), sim.ledger.due(sim.now), sim.ledger.next_time(sim.now)
        sim.restart_without_settling()
        assert left == (report(sim.round, sim.now), sim.ledger.due(sim.now), sim.ledger.next_time(sim.now))
    assert sim.finished(1).outcome == "published"
