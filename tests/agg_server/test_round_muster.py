"""The muster, driven by hand: when it closes, and which musters it takes."""

from pathlib import Path

import pytest
from simulated import Sim, Simulated

from agg_server.rounds import Phase
from agg_server.rounds.events import Offered
from fedit_shared.errors import ConflictError, ProtocolError

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


def test_a_muster_of_too_few_waits_for_more_and_closes_with_the_one_that_makes_them_enough(sim: Simulated):
    sim.muster(*sim.devices[:2])
    sim.wait(5 * HOUR)
    assert sim.round.phase is Phase.MUSTER
    sim.muster(sim.devices[2])
    assert len(sim.cohort.session.identities) == 3


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
