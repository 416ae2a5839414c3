"""What one malicious device can cost a round, and what its operator sees of it: docs/threat-model.md, "What one device
can spoil"."""

from pathlib import Path

import pytest
from attackers import Round, false_checks, sealed_to_strangers
from simulated import Simulated

from agg_server.rounds.state import Phase
from fedit_shared.parameters import CohortParameters


def test_the_operator_is_told_whose_floor_gave_a_cohort_up(tmp_path: Path):
    """It asks for everybody, and then sends nothing. The four others would have been enough for one another."""
    sim = Simulated(tmp_path)
    attacker, others = sim.devices[0], sim.devices[1:]
    sim.muster(attacker, floor=5)
    sim.muster(*others)
    sim.wait(sim.round.opened.rules.muster_window)
    sim.contribute(*others)
    cohort = sim.cohort_of(attacker)
    sim.wait(sim.round.opened.rules.contribute_window)
    assert cohort.phase is Phase.GIVEN_UP
    assert cohort.given_up == "4 of 5 uploads came, 5 were needed by the floors of 1 members"
    assert cohort.suspects == {attacker.identity}


def test_nobodys_floor_is_blamed_where_the_protocols_own_is_not_met(tmp_path: Path):
    sim = Simulated(tmp_path)
    sim.muster(*sim.devices, floor=3)
    sim.wait(sim.round.opened.rules.muster_window)
    sim.contribute(*sim.devices[:2])
    cohort = sim.cohort_of(sim.devices[0])
    sim.wait(sim.round.opened.rules.contribute_window)
    assert cohort.given_up == "2 of 5 uploads came, 3 were needed"
    assert not cohort.suspects


def test_who_musters_at_once_without_training_shuts_nobody_out(tmp_path: Path):
    """The others finish after an hour, a minute apart; a cohort needs three."""
    sim = Simulated(tmp_path, count=12)
    attacker, *others = sim.devices
    for _ in range(2):
        number = sim.round.number
        sim.muster(attacker)
        sim.wait(3600)
        for device in others:
            sim.muster(device)
            sim.wait(60)
        sim.wait(sim.round.opened.rules.muster_window)
        for step in (sim.contribute, sim.report, sim.vote):
            step(*sim.devices)
        sim.answer(*sim.devices, settle=False)
        sim.settle()
        told = sim.finished(number)
        assert (told.outcome, len(told.cohorts[0].survivors), told.dropped) == ("published", 12, [])


@pytest.mark.parametrize("size", [5, 7, 10])
def test_a_dealer_that_leaves_just_enough_members_able_to_answer_and_keeps_silent_closes_the_sum(size: int):
    """It seals garbage to n − r members: r are left, itself among them, and it never answers."""
    round_ = Round(size)
    dealer, spare = round_.devices[0], size - CohortParameters(size).threshold
    round_.deal_instead((dealer, sealed_to_strangers(round_, dealer, round_.devices[-spare:])))
    survivors, certificate = round_.certify()
    assert round_.chosen() == round_.identities
    round_.answer_all(survivors, certificate, round_.devices[1:])
    assert len(round_.aggregator.answers) == CohortParameters(size).threshold - 1
    assert not list(round_.aggregator.open_key())


@pytest.mark.parametrize("size", [7, 8, 9])
def test_of_a_cohort_that_one_liar_gives_up_everybody_else_is_suspected(size: int):
    """It says of all dealers that their check values fit no polynomial, and cannot say it of itself."""
    round_ = Round(size)
    liar = round_.devices[0]
    round_.aggregator.add_report(liar.identity, *false_checks(round_, liar, round_.identities))
    round_.report(round_.devices[1:])
    assert round_.aggregator.choose_survivors() is None
    assert set(round_.aggregator.suspects()) == set(round_.identities) - {liar.identity}


@pytest.mark.parametrize("spoilt", [False, True])
def test_cohorts_are_drawn_anew_after_one_of_them_failed_though_the_others_were_published(tmp_path: Path, spoilt: bool):
    sim = Simulated(tmp_path, count=6, cohort_max=3)
    sim.muster(*sim.devices)
    sim.wait(sim.round.opened.rules.muster_window)
    first, partition = sim.cohort_of(sim.devices[0]), sim.round.opened.partition
    for step in (sim.contribute, sim.report, sim.vote):
        step(*sim.devices)
    sim.answer(*[d for d in sim.devices if not spoilt or sim.cohort_of(d) is first])
    if spoilt:
        sim.wait(first.not_after - sim.now + 1)
    ended = sim.finished(1)
    outcomes = sorted(cohort.outcome or "" for cohort in ended.cohorts)
    assert (ended.outcome, outcomes) == ("published", ["failed" if spoilt else "published", "published"])
    assert sim.round.number == 2
    assert (sim.round.opened.partition != partition) is spoilt
