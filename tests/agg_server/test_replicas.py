"""Replicas over one journal: the same events in the same order, and each thing done once, whoever proposes it."""

from pathlib import Path

import msgspec
import pytest
from simulated import Sim, Simulated

from agg_server.cohort import Draw
from agg_server.driver.opening import next_proposal
from agg_server.driver.work import job
from agg_server.ledger import Ledger, Proposal
from agg_server.rounds.events import AnyEvent, Offered
from agg_server.rounds.report import report
from agg_server.rounds.state import Phase
from agg_server.store import Journal
from fedit_shared.errors import ConflictError, FeditError, NotFoundError


class Pair(Simulated):
    """Two replicas: ``ledger`` leads, ``other`` did until a moment ago and has not noticed."""

    other: Ledger

    def restart_without_settling(self) -> None:
        self.ledger = Ledger(self.database, self.tools.key, shared=True)
        self.ledger.load()
        self.other = Ledger(self.database, self.tools.key, shared=True)
        self.other.load()
        self.deposed: list[tuple[Proposal, FeditError | None]] = []

    def settle(self) -> None:
        """As a leader does; and each time the deposed one does the same work, and proposes what comes of it."""
        late = self._work_of(self.other)
        super().settle()
        for proposal in late:
            [outcome] = self.other.record([proposal], self.now).outcomes
            self.deposed.append((proposal, outcome))
        assert shown(self.other, self.now) == shown(self.ledger, self.now)

    def _work_of(self, ledger: Ledger) -> list[Proposal]:
        found, current = [], ledger.current
        with self.database.begin() as connection:
            opening = next_proposal(connection, self.tools, self.plans, current, self._random(32))
        if opening is not None:
            found.append(opening)
        for due in ledger.due(self.now):
            round = ledger.live(due.round)
            event = job(self.tools, round, due.effect, self.now)() if round else None
            if event is not None:
                found.append(Proposal(due.round, event))
        return found


def shown(ledger: Ledger, now: float) -> object:
    current = ledger.current
    assert current is not None
    return report(current, now), ledger.stages(), ledger.due(now), ledger.next_time(now)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path, 5, cohort_target=5)


def kinds(pair: Pair) -> set[type[AnyEvent]]:
    return {type(proposal.event) for proposal, _ in pair.deposed}


def test_what_a_deposed_leader_still_proposes_is_refused_and_changes_nothing(pair: Pair):
    pair.whole_round()
    names = {kind.__name__ for kind in kinds(pair)}
    assert names == {"RoundOpened", "CohortsFormed", "ContributeClosed", "SurvivorsOffered", "SumOpened"}
    assert all(isinstance(outcome, ConflictError | NotFoundError) for _, outcome in pair.deposed), pair.deposed
    assert pair.finished(1).outcome == "published"
    assert pair.round.number == 2
    with pair.database.begin() as connection:
        events = [type(r.event).__name__ for r in Journal().events_of(connection, 1)]
    for once in names | {"RoundEnded"}:
        assert events.count(once) == 1, once


def test_a_step_that_two_replicas_take_is_one_version(pair: Pair):
    pair.muster(*pair.devices)
    for step in (pair.contribute, pair.report, pair.vote):
        step(*pair.devices)
    pair.answer(*pair.devices, settle=False)
    [opening] = pair._work_of(pair.ledger)
    pair.record(opening.event)
    here, there = pair._work_of(pair.ledger), pair._work_of(pair.other)
    assert here == there, "the step is the same wherever it is taken"
    assert pair.ledger.record(here, pair.now).outcomes == [None]
    [refused] = pair.other.record(there, pair.now).outcomes
    assert isinstance(refused, ConflictError)
    assert pair.finished(1).version == 1


def test_packets_of_another_deal_that_a_slow_replica_stores_late_do_not_replace_those_that_count(pair: Pair):
    dealer: Sim = pair.devices[0]
    pair.muster(*pair.devices)
    other = pair.make_deal(dealer).body[::-1]
    pair.contribute(*pair.devices)
    pair.tools.rooms.store_packets(dealer.cohort, dealer.identity, other, [bytes(200)] * len(pair.devices))
    pair.report(*pair.devices)
    survivors = pair.cohort_of(dealer).aggregator.survivors
    assert survivors is not None
    assert dealer.identity in survivors
    for step in (pair.vote, pair.answer):
        step(*pair.devices)
    assert pair.finished(1).outcome == "published"


def test_what_one_replica_has_recorded_the_other_shows_to_whoever_asks_next(pair: Pair):
    device: Sim = pair.devices[0]
    pair.record(Offered(identity=device.identity))
    pair.record(pair.make_muster(device))
    seen = pair.other.current
    assert seen is not None
    assert device.identity in seen.musters
    assert pair.other.moved, "and tells those who wait there"


def test_a_repeat_at_another_replica_is_accepted_and_not_recorded_again(pair: Pair):
    device: Sim = pair.devices[0]
    pair.record(Offered(identity=device.identity))
    muster = pair.make_muster(device)
    pair.record(muster)
    batch = pair.other.record([Proposal(1, muster)], pair.now)
    assert (batch.outcomes, batch.recorded) == ([None], [])
    other = msgspec.structs.replace(pair.make_muster(device), signature=bytes(64))
    [refused] = pair.other.record([Proposal(1, other)], pair.now).outcomes
    assert isinstance(refused, ConflictError)


def test_replicas_draw_the_same_devices(pair: Pair):
    identities = [device.identity for device in pair.devices]
    here, there = (Draw(pair.round.opened.seed, 0.4, 2, order) for order in (identities, reversed(identities)))
    assert [here.includes(identity) for identity in identities] == [there.includes(i) for i in identities]


def test_a_replica_that_starts_in_the_middle_knows_what_the_others_know(pair: Pair):
    pair.muster(*pair.devices)
    pair.contribute(*pair.devices[:3])
    late = Ledger(pair.database, pair.tools.key, shared=True)
    late.load()
    pair.contribute(*pair.devices[3:])
    assert shown(late, pair.now) == shown(pair.ledger, pair.now)
    assert pair.cohort.phase is Phase.PREPARE
