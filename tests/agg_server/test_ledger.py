"""Memory never runs ahead of the disk, and what other processes write is seen."""

import sqlite3
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from simulated import Simulated
from sqlalchemy import Connection

from agg_server.driver.opening import Plans
from agg_server.driver.work import job
from agg_server.errors import UnavailableError
from agg_server.ledger import Proposal
from agg_server.rounds import Phase
from agg_server.rounds.events import Offered
from agg_server.rounds.report import report
from agg_server.store import Database, Invitation, People, Versions
from agg_server.upkeep import rollback
from fedit_shared.errors import ConflictError, UnauthorizedError, UserError


@pytest.fixture
def sim(tmp_path: Path) -> Simulated:
    return Simulated(tmp_path, 5, cohort_target=5)


def test_a_locked_database_refuses_the_whole_batch_and_memory_stays_what_the_disk_says(sim: Simulated, tmp_path: Path):
    sim.muster(*sim.devices[:2])
    before = report(sim.round, sim.now)
    quick = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}", busy_seconds=0.1)
    sim.database = quick
    sim.restart_without_settling()
    device = sim.devices[2]
    proposals = [Proposal(1, Offered(identity=device.identity)), Proposal(1, sim.make_muster(device))]
    other = sqlite3.connect(tmp_path / "test.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError, match="locked"):
        sim.ledger.record(proposals, sim.now)
    other.execute("ROLLBACK")
    assert sim.ledger.record(proposals[1:], sim.now).outcomes[0] is not None  # the offer was not recorded
    assert report(sim.round, sim.now) == before
    assert sim.ledger.record(proposals, sim.now).outcomes == [None, None]
    assert len(sim.round.musters) == 3


def test_one_refused_event_does_not_take_its_batch_with_it(sim: Simulated):
    device, other = sim.devices[:2]
    offers = [Proposal(1, Offered(identity=d.identity)) for d in (device, other)]
    stale = Proposal(1, sim.make_muster(device, round=7))
    outcomes, recorded = sim.ledger.record([offers[0], stale, offers[1]], sim.now)
    assert [type(outcome) for outcome in outcomes] == [type(None), ConflictError, type(None)]
    assert [r.event for r in recorded] == [offers[0].event, offers[1].event]


def test_a_rollback_ends_a_round_that_musters_and_the_next_begins_from_the_old_version(sim: Simulated):
    first = sim.round.opened.adapter
    sim.whole_round()
    sim.muster(*sim.devices[:2])
    with sim.database.begin() as connection:
        Versions().order_rollback(connection, 0)
    sim.settle()
    assert (sim.round.number, sim.round.opened.version, sim.round.opened.next_version) == (3, 0, 2)
    assert sim.round.opened.adapter == first
    sim.settle()
    assert sim.round.number == 3
    sim.whole_round()
    assert (sim.round.opened.version, sim.round.opened.next_version) == (2, 3)
    with sim.database.begin() as connection:
        assert [(v.version, v.parent) for v in Versions().all(connection)] == [(0, None), (1, 0), (2, 0)]


def test_a_rollback_during_a_round_waits_for_its_end(sim: Simulated):
    sim.whole_round()
    sim.muster(*sim.devices)
    with sim.database.begin() as connection:
        Versions().order_rollback(connection, 0)
    sim.settle()
    for step in (sim.contribute, sim.report, sim.vote, sim.answer):
        step(*sim.devices)
    assert (sim.round.number, sim.round.opened.version) == (3, 0)


def test_an_order_to_go_back_to_what_a_round_has_begun_from_throws_no_round_away(sim: Simulated):
    def order(version: int) -> None:
        with sim.database.alone() as connection:
            rollback.go_back(connection, sim.tools.blobs, version)

    sim.whole_round()
    order(0)
    sim.settle()
    assert (sim.round.number, sim.round.opened.version) == (3, 0)
    for phase in (Phase.MUSTER, Phase.COHORTS):
        assert sim.round.phase is phase
        with pytest.raises(UserError, match="counts already"):
            order(0)
        order(1)
        with pytest.raises(UserError, match="counts already"):
            order(1)
        order(0)  # he has changed his mind
        sim.settle()
        if phase is Phase.MUSTER:
            sim.muster(*sim.devices)
    for step in (sim.contribute, sim.report, sim.vote, sim.answer):
        step(*sim.devices)
    assert (sim.round.number, sim.round.opened.version) == (4, 2)


def test_cohorts_stay_together_until_a_round_fails(sim: Simulated):
    partition = sim.round.opened.partition
    sim.whole_round()
    assert sim.round.opened.partition == partition
    sim.muster(*sim.devices)
    sim.wait(1801)
    assert sim.round.opened.partition != partition


def test_changed_settings_open_a_mustering_round_anew(sim: Simulated):
    sim.muster(*sim.devices[:2])
    later = sim.reopened(cohort_target=3)
    assert later.round.number == 2
    assert later.round.opened.rules.cohort_target == 3
    assert later.round.opened.version == 0


def test_clip_ranges_follow_the_training_of_now_until_something_was_published(sim: Simulated):
    made_with = sim.round.opened.clip

    def train(steps: int) -> tuple[float, ...]:
        training = msgspec.structs.replace(sim.plans.task.training, steps=steps)
        sim.plans = Plans.of(msgspec.structs.replace(sim.plans.task, training=training))
        sim.restart()
        return sim.round.opened.clip

    assert train(sim.plans.task.training.steps * 4) == pytest.approx([4 * c for c in made_with])
    sim.whole_round()
    published = sim.round.opened.clip
    assert train(sim.plans.task.training.steps * 2) == published


def test_clip_ranges_are_the_settings_at_first_and_then_follow_what_was_published(sim: Simulated):
    first = sim.round.opened.clip
    assert first == (pytest.approx(3e-4 * 10),) * 2
    sim.whole_round()
    second = sim.round.opened.clip
    assert all(a / 2 < b < a for a, b in zip(first, second, strict=True)), "values reached to a fifth of them"


class TestPeople:
    """Invitations are counted, and cost nothing to who is in already."""

    NOW = 1000.0

    def invite(self, sim: Simulated, uses: int = 1, expires: float | None = None) -> bytes:
        token = bytes([uses] * 32)
        with sim.database.begin() as connection:
            made = Invitation(token_hash=token, created=0.0, expires=expires, uses=uses, used=0)
            People().invite(connection, [made])
        return token

    def enrol(self, sim: Simulated, device: int, token: bytes, now: float = NOW) -> bool:
        with sim.database.begin() as connection:
            return People().enrol(connection, bytes([device] * 32), token, now)

    def test_an_invitation_lets_in_as_many_as_it_has_uses(self, sim: Simulated):
        token = self.invite(sim, uses=2)
        assert self.enrol(sim, 1, token)
        assert not self.enrol(sim, 1, token)
        assert self.enrol(sim, 2, token)
        with pytest.raises(UnauthorizedError, match="used up"):
            self.enrol(sim, 3, token)
        assert not self.enrol(sim, 2, token)

    def test_an_expired_or_unknown_invitation_lets_nobody_in(self, sim: Simulated):
        token = self.invite(sim, expires=self.NOW)
        assert self.enrol(sim, 1, token)
        with pytest.raises(UnauthorizedError, match="expired"):
            self.enrol(sim, 2, self.invite(sim, uses=2, expires=self.NOW - 1))
        with pytest.raises(UnauthorizedError, match="not known"):
            self.enrol(sim, 3, bytes(32))

    def test_a_blocked_device_cannot_join_again(self, sim: Simulated):
        token = self.invite(sim, uses=5)
        self.enrol(sim, 1, token)
        with sim.database.begin() as connection:
            People().set_blocked(connection, bytes([1] * 32), blocked=True)
        with pytest.raises(UnauthorizedError, match="blocked"):
            self.enrol(sim, 1, token)

    def test_who_left_needs_an_invitation_to_come_back(self, sim: Simulated):
        token = self.invite(sim, uses=1)
        self.enrol(sim, 1, token)
        with sim.database.begin() as connection:
            People().leave(connection, bytes([1] * 32))
        with pytest.raises(UnauthorizedError, match="used up"):
            self.enrol(sim, 1, token)
        assert self.enrol(sim, 1, self.invite(sim, uses=3))

    def test_who_left_is_not_brought_back_by_being_blocked_and_let_in_again(self, sim: Simulated):
        people, who = People(), bytes([1] * 32)
        self.enrol(sim, 1, self.invite(sim))

        def statuses(*changes: Callable[[Connection], None]) -> list[str]:
            with sim.database.begin() as connection:
                found = []
                for change in changes:
                    change(connection)
                    found.append(people.statuses(connection)[who])
                return found

        def block(connection: Connection) -> None:
            people.set_blocked(connection, who, blocked=True)

        def unblock(connection: Connection) -> None:
            people.set_blocked(connection, who, blocked=False)

        def leave(connection: Connection) -> None:
            people.leave(connection, who)

        assert statuses(block, block, unblock, unblock) == ["blocked", "blocked", "active", "active"]
        assert statuses(block, leave) == ["blocked", "blocked"], "leaving does not undo a block"
        assert statuses(unblock, leave, block, block, unblock) == ["active", "left", "blocked", "blocked", "left"]
        assert self.enrol(sim, 1, self.invite(sim, uses=2))
        assert statuses(block, unblock) == ["blocked", "active"], "what it was before it came back is forgotten"


def test_what_did_not_reach_the_disk_is_never_shown(sim: Simulated, tmp_path: Path):
    """The database goes away in the middle of a commit and stays away: nothing is read until it is back."""
    sim.muster(*sim.devices, settle=False)
    sim.database = Database(f"sqlite:///{tmp_path / 'test.sqlite3'}", busy_seconds=0.1)
    sim.restart_without_settling()
    [due] = sim.ledger.due(sim.now)
    formed = job(sim.tools, sim.round, due.effect, sim.now)()
    assert formed is not None
    other = sqlite3.connect(tmp_path / "test.sqlite3", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(UnavailableError):
        sim.ledger.record([Proposal(1, formed)], sim.now)
    for read in (lambda: sim.ledger.current, lambda: sim.ledger.live(1), lambda: sim.ledger.cohort(bytes(16))):
        with pytest.raises(UnavailableError):
            read()
    other.execute("ROLLBACK")
    assert sim.round.phase is Phase.MUSTER
    assert sim.ledger.record([Proposal(1, formed)], sim.now).outcomes == [None]
    assert sim.round.phase is Phase.COHORTS
