"""The muster, driven by hand: when it closes, and which musters it takes."""

from pathlib import Path

import pytest
from simulated import Sim, Simulated

from agg_server.driver.work import job
from agg_server.rounds import Phase
from agg_server.rounds.effects import FormCohorts
from agg_server.rounds.events import CohortsFormed, Offered, Withdrawn
from agg_server.rounds.report import report
from agg_server.rounds.views import after_muster
from fedit_shared.errors import ConflictError, ProtocolError
from fedit_shared.messages import Wait

MINUTE, HOUR = 60.0, 3600.0


@pytest.fixture
def sim(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, 5, cohort_target=5)


def test_the_muster_closes_as_soon_as_the_target_is_there(sim: Simulated):
    sim.muster(*sim.devices[:4])
    assert sim.round.phase is Phase.MUSTER
    sim.muster(sim.devices[4])
    assert sim.round.phase is Phase.COHORTS
    assert set(sim.cohort.session.identities) == {device.identity for device in sim.devices}


def test_the_muster_closes_when_its_window_is_over_with_those_who_are_there(sim: Simulated):
    sim.muster(*sim.devices[:3])
    sim.wait(30 * MINUTE - 1)
    assert sim.round.phase is Phase.MUSTER
    sim.wait(1)
    assert len(sim.cohort.session.identities) == 3


def test_the_window_begins_with_the_muster_that_makes_a_cohort_possible(sim: Simulated):
    sim.muster(*sim.devices[:2])
    assert sim.ledger.next_time(sim.now) == sim.now + 24 * HOUR + 30 * MINUTE + 2, "when their promise ends"
    sim.wait(5 * HOUR)
    sim.muster(sim.devices[2])
    sim.wait(30 * MINUTE - 1)
    assert sim.round.phase is Phase.MUSTER
    sim.muster(sim.devices[3])
    sim.wait(1)
    assert len(sim.cohort.session.identities) == 4


def test_the_window_begins_anew_when_too_few_are_left(sim: Simulated):
    sim.muster(*sim.devices[:4])
    sim.wait(20 * MINUTE)
    sim.record(Withdrawn(identity=sim.devices[0].identity, reason="left"))
    assert sim.round.muster_until == sim.now + 10 * MINUTE
    sim.record(Withdrawn(identity=sim.devices[1].identity, reason="left"))
    sim.wait(20 * MINUTE)
    sim.muster(sim.devices[4])
    sim.wait(30 * MINUTE - 1)
    assert sim.round.phase is Phase.MUSTER
    sim.wait(1)
    assert len(sim.cohort.session.identities) == 3


def test_a_journal_in_which_the_window_began_with_the_first_muster_is_read_to_the_same_end(sim: Simulated):
    """Before, a third device that came after the first one's window made a cohort at once."""
    sim.muster(sim.devices[0])
    sim.wait(40 * MINUTE)
    sim.muster(*sim.devices[1:3])
    formed = job(sim.tools, sim.round, FormCohorts(musters=3), sim.now)()
    assert isinstance(formed, CohortsFormed)
    sim.record(formed)
    told = report(sim.round, sim.now)
    sim.restart()
    assert report(sim.round, sim.now) == told
    assert (sim.round.phase, len(told.cohorts[0].roster)) == (Phase.COHORTS, 3)


def test_devices_are_told_until_when_others_may_come_once_that_is_settled(sim: Simulated):
    def until(device: Sim) -> int | None:
        told = after_muster(sim.round, device.identity, sim.now)
        assert isinstance(told, Wait)
        return told.until

    first, second, third, *_ = sim.devices
    sim.muster(first, second)
    assert until(first) is None
    sim.wait(HOUR)
    sim.muster(third)
    assert until(first) == until(third) == int(sim.now + 30 * MINUTE) + 1


def test_a_muster_that_has_waited_longer_than_it_promised_is_withdrawn_and_may_come_again(sim: Simulated):
    sim.muster(sim.devices[0])
    sim.wait(30 * HOUR)
    assert not sim.round.musters
    sim.muster(*sim.devices[:3])
    sim.wait(30 * MINUTE)
    assert len(sim.cohort.session.identities) == 3


@pytest.mark.parametrize("changes", [{"round": 2}, {"adapter": b"\1" * 32}, {"task_hash": b"\1" * 32}])
def test_a_muster_for_another_round_adapter_or_task_is_refused_as_stale(sim: Simulated, changes: dict[str, object]):
    sim.record(Offered(identity=sim.devices[0].identity))
    with pytest.raises(ConflictError, match="another round"):
        sim.record(sim.make_muster(sim.devices[0], **changes))
    assert not sim.round.musters


def test_a_muster_of_another_federation_or_of_another_round_key_is_refused(sim: Simulated):
    sim.record(Offered(identity=sim.devices[0].identity))
    for changes in ({"federation": bytes(32)}, {"round_key_hash": bytes(32)}):
        with pytest.raises(ProtocolError):
            sim.record(sim.make_muster(sim.devices[0], **changes))
    assert not sim.round.musters


def test_a_muster_that_ends_before_answers_may_be_needed_is_refused(sim: Simulated):
    sim.record(Offered(identity=sim.devices[0].identity))
    with pytest.raises(ConflictError, match="too early"):
        sim.record(sim.make_muster(sim.devices[0], not_after=int(sim.now + 12 * HOUR)))


def test_a_muster_without_an_offer_is_refused(sim: Simulated):
    with pytest.raises(ConflictError, match="not offered"):
        sim.record(sim.make_muster(sim.devices[0]))


def test_a_repeated_muster_is_accepted_once_and_another_one_refused(sim: Simulated):
    device = sim.devices[0]
    sim.record(Offered(identity=device.identity))
    muster = sim.make_muster(device)
    sim.record(muster)
    sim.record(muster)
    assert len(sim.round.musters) == 1
    with pytest.raises(ConflictError, match="another muster"):
        sim.record(sim.make_muster(device, floor=4))


def test_who_musters_too_late_is_told_that_the_round_goes_on_without_it(sim: Simulated):
    sim.muster(*sim.devices)
    late = Sim(9, sim.devices[0].key)
    with pytest.raises(ConflictError):
        sim.record(sim.make_muster(late))


def test_a_federation_with_a_number_of_rounds_opens_no_more(tmp_path: Path):
    sim = Simulated(tmp_path, 3, rounds=2, cohort_target=3)
    assert sim.whole_round() == 1
    assert sim.whole_round() == 2
    assert sim.round.number == 2
    assert sim.round.phase is Phase.OVER
