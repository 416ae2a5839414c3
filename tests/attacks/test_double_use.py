"""Restarts, retries and a lying server ask for a second vote, a second vector under one secret, an update in two sums.
The client's own seat and disk are the victim; the tests play everybody else."""

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from attackers import Round, certificate_of
from victims import Victim, contributed

from edge_client.state import CorruptStateError, Ended, SpentError
from fedit_shared.errors import ConflictError, ForgedError, ProtocolError, UnsafeError
from fedit_shared.messages import Certificate, Prepare, Result, Survivors
from fedit_shared.secagg import Contribution, Member, Session, Update
from fedit_shared.secagg.bodies import decode_survivors


class Stopped(BaseException):
    """Where a test kills the client."""


def test_after_a_restart_a_device_gives_the_same_vote_and_no_other(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    everybody, fewer = victim.round.listing(victim.round.devices), victim.round.listing(victim.round.devices[:4])
    with victim.state() as state:
        victim.seat(state, attempt).vote(Survivors(survivors=everybody))
        cast = attempt.vote()
    with victim.state() as state:
        (again,) = state.attempts
        seat = victim.seat(state, again)
        for other in (fewer, b""):
            with pytest.raises(ConflictError, match="second vote"):
                seat.vote(Survivors(survivors=other))
        seat.vote(Survivors(survivors=everybody))
        assert again.vote() == cast


def test_a_device_that_is_killed_before_its_vote_is_on_disk_has_sent_none(tmp_path: Path, monkeypatch):
    victim, attempt = contributed(tmp_path)
    everybody, fewer = victim.round.listing(victim.round.devices), victim.round.listing(victim.round.devices[:4])
    with victim.state() as state:
        seat = victim.seat(state, attempt)
        with monkeypatch.context() as patch:
            patch.setattr("os.replace", stop)
            with pytest.raises(Stopped):
                seat.vote(Survivors(survivors=everybody))
    with victim.state() as state:
        (again,) = state.attempts
        assert again.vote() is None, "so nothing was there to send"
        victim.seat(state, again).vote(Survivors(survivors=fewer))
        with pytest.raises(ConflictError):
            victim.seat(state, again).vote(Survivors(survivors=everybody))


def stop(*arguments: object) -> None:
    raise Stopped


def test_a_device_answers_what_was_certified_whatever_it_voted_and_again_the_same(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    everybody, fewer = victim.round.listing(victim.round.devices), victim.round.listing(victim.round.devices[:4])
    others = [device for device in victim.round.devices if device is not victim.device]
    certified = Certificate(survivors=fewer, certificate=certificate_of(victim.round.session, fewer, others))
    with victim.state() as state:
        seat = victim.seat(state, attempt)
        seat.vote(Survivors(survivors=everybody))
        assert seat.answer(certified)
        given = attempt.answer()
    with victim.state() as state:
        (again,) = state.attempts
        assert victim.seat(state, again).answer(certified)
        assert again.answer() == given
        both = certificate_of(victim.round.session, everybody, victim.round.devices)
        with pytest.raises(ConflictError, match="second answer"):
            victim.seat(state, again).answer(Certificate(survivors=everybody, certificate=both))
        assert again.answer() == given


def test_one_secret_masks_one_vector_whenever_the_device_is_killed(tmp_path: Path):
    """Killed while it writes the vector: another secret. Killed after the deal is kept: the same bytes, never masked
    again."""
    victim = Victim.in_cohort(tmp_path)
    seen: list[bytes] = []

    def killed(
        session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        seen.append(randomness)
        victim.contribute(session, update, randomness, lambda view: None)
        sink(memoryview(bytes(32768)))
        raise Stopped

    def watched(
        session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        seen.append(randomness)
        return victim.contribute(session, update, randomness, sink)

    with victim.state() as state:
        attempt = victim.muster(state, victim.train(state))
        with pytest.raises(Stopped):
            victim.seat(state, attempt).seal(killed)
        assert attempt.deal() is None
    with victim.state() as state:
        (attempt,) = state.attempts
        assert not attempt.vector.exists(), "nothing of it is there to be sent"
        victim.seat(state, attempt).seal(watched)
        kept, deal = attempt.vector.read_bytes(), attempt.deal()
    assert len(set(seen)) == 2
    with victim.state() as state:
        (attempt,) = state.attempts
        with pytest.raises(ConflictError, match="one secret masks one vector"):
            victim.seat(state, attempt).seal(watched)
        assert (attempt.vector.read_bytes(), attempt.deal()) == (kept, deal)
    assert deal is not None
    assert sha256(kept).digest() == deal.body[64:96]


def test_a_round_key_serves_one_cohort_and_packets_are_shown_once(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    with victim.state() as state:
        other = victim.roster()
        victim.round.cohort.cohort = bytes(16)
        with pytest.raises(ConflictError, match="second roster"):
            victim.seat(state, attempt)
        victim.round.cohort.cohort = other.cohort
        shown = victim.prepare()
        fewer = Prepare(receipts=shown.receipts[:4], packets=shown.packets[:4])
        with pytest.raises(ConflictError, match="other packets"):
            attempt.keep_prepare(fewer)


def test_a_sent_update_is_in_no_second_round_until_votes_show_that_it_is_in_no_sum(tmp_path: Path):
    """Abort and retry: the server says that a cohort is abandoned, and waits for the same update in the next."""
    victim, attempt = contributed(tmp_path)
    everybody, others = victim.round.devices, [d for d in victim.round.devices if d is not victim.device]
    without = victim.round.listing(others)
    lies: list[tuple[Result, type[ProtocolError] | None]] = [
        (victim.result(b"", [], "abandoned"), ForgedError),
        (victim.result(b"", everybody[:3], "abandoned"), ForgedError),
        (victim.result(without, others[:3], "failed"), ForgedError),
        (victim.result(b"", [], "failed"), None),
        (victim.result(without, [], "failed"), None),
        (victim.result(victim.round.listing(everybody), everybody, "failed"), None),
    ]
    for lie, refused in lies:
        with victim.state() as state:
            seat = victim.seat(state, attempt)
            if refused:
                with pytest.raises(refused):
                    seat.judge(lie)
            else:
                assert not seat.judge(lie).reusable
            (update,) = state.updates
            assert update.spent_by == attempt.name
            with pytest.raises(SpentError):
                update.delta()
    with victim.state() as state:
        assert victim.seat(state, attempt).judge(victim.result(b"", others, "abandoned")).reusable
        (update,) = state.updates
        assert update.delta() == victim.device.update.delta.tobytes()


def test_an_update_that_votes_gave_back_is_masked_with_a_new_secret_in_the_next_round(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    with victim.state() as state:
        first = attempt.deal()
        vector = np.frombuffer(attempt.vector.read_bytes(), "<u4")
        victim.seat(state, attempt).judge(victim.result(b"", victim.round.devices, "abandoned"))
        attempt.end(ended())
        (update,) = state.updates
        later = Victim.in_cohort(tmp_path, number=2)
        again = later.muster(state, update)
        seat = later.seat(state, again)
        seat.seal(victim.contribute)
        seat.spend()
        second = again.deal()
        assert first is not None
        assert second is not None
        assert first.body[:32] != second.body[:32], "another session"
        assert np.mean(vector == np.frombuffer(again.vector.read_bytes(), "<u4")) < 0.01
        with pytest.raises(SpentError):
            update.spend(attempt.name)


def ended() -> Ended:
    return Ended(round=1, outcome="abandoned", counted=False, survivors=0, members=5, bytes_up=0, time=0)


def test_two_attempts_cannot_both_send_one_update(tmp_path: Path):
    """The second one musters with it before the first one's receipt leaves."""
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        update = victim.train(state)
        first = victim.muster(state, update)
        later = Victim.in_cohort(tmp_path, number=2)
        second = later.muster(state, update)
        seats = victim.seat(state, first), later.seat(state, second)
        for seat in seats:
            seat.seal(victim.contribute)
        seats[0].spend()
        with pytest.raises(SpentError):
            seats[1].spend()
        assert update.spent_by == first.name


def test_votes_on_one_attempt_give_no_update_back_that_another_attempt_sent(tmp_path: Path):
    """The first one's receipt may be in a sum; the votes show only that the second one's is in none."""
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        update = victim.train(state)
        first = victim.muster(state, update)
        later = Victim.in_cohort(tmp_path, number=2)
        second = later.muster(state, update)
        for seat in (victim.seat(state, first), later.seat(state, second)):
            seat.seal(victim.contribute)
        victim.seat(state, first).spend()
        assert later.seat(state, second).judge(later.result(b"", later.round.devices, "abandoned")).reusable
        assert update.spent_by == first.name
        with pytest.raises(SpentError):
            update.delta()


def test_an_update_that_is_not_there_or_not_finished_is_not_masked(tmp_path: Path):
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        update = victim.train(state)
        seat = victim.seat(state, victim.muster(state, update))
        (update.folder / "trained").unlink()
        for _ in range(2):
            with pytest.raises(SpentError, match="no longer"):
                seat.seal(victim.contribute)
            update.drop()


def test_an_update_that_is_damaged_is_forgotten_and_trained_anew(tmp_path: Path):
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        update = victim.train(state)
        seat = victim.seat(state, victim.muster(state, update))
        (update.folder / "delta").write_bytes(b"rubbish")
        with pytest.raises(CorruptStateError):
            seat.seal(victim.contribute)
        assert not state.updates


def test_an_ended_attempt_has_no_key_to_open_or_answer_with(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    with victim.state():
        attempt.end(ended())
        with pytest.raises(CorruptStateError, match="missing"):
            attempt.round_key()
        assert not attempt.alive
        assert not any(p.read_bytes() != b"" and p.name == "key" for p in attempt.folder.iterdir())


def test_the_seat_repeats_every_check_of_a_list_that_the_server_certified_alone(tmp_path: Path):
    victim, attempt = contributed(tmp_path)
    devices = victim.round.devices
    with victim.state() as state:
        seat = victim.seat(state, attempt)
        small = victim.round.listing(devices[:2])
        with pytest.raises(UnsafeError):
            seat.vote(Survivors(survivors=small))
        with pytest.raises(UnsafeError):
            seat.answer(Certificate(survivors=small, certificate=certificate_of(victim.round.session, small, devices)))
        everybody = victim.round.listing(devices)
        with pytest.raises(ForgedError):
            seat.answer(
                Certificate(
                    survivors=everybody, certificate=certificate_of(victim.round.session, everybody, devices[:3])
                )
            )
        assert attempt.vote() is None
        assert attempt.answer() is None
        assert len(decode_survivors(everybody)) == 5


def test_the_members_pure_code_would_vote_twice_so_that_the_disk_must_not():
    """What :class:`Member` promises ends where its caller's begins: each vote is a function of what it is given."""
    round_ = Round(5)
    device = round_.devices[2]
    member: Member = round_.member(device)
    votes = {member.vote(round_.prepare(device), u) for u in (round_.listing(round_.devices), b"")}
    assert len(votes) == 2


def test_an_update_whose_file_is_gone_or_changed_is_not_sent(tmp_path: Path):
    victim = Victim.in_cohort(tmp_path)
    with victim.state() as state:
        update = victim.train(state)
        path = update.folder / "delta"
        whole = path.read_bytes()
        for wrong in (None, whole[:-4], bytes([whole[0] ^ 1]) + whole[1:]):
            path.unlink()
            if wrong is not None:
                path.write_bytes(wrong)
            with pytest.raises(CorruptStateError):
                update.delta()
            path.write_bytes(whole)
        assert update.delta() == whole
        begun = state.new_update(bytes(32), bytes(32))
        (begun.folder / "delta").write_bytes(whole)
        with pytest.raises(CorruptStateError):
            begun.delta()


def test_a_damaged_mark_is_not_taken_for_an_update_that_was_never_sent(tmp_path: Path):
    victim, _ = contributed(tmp_path)
    with victim.state() as state:
        (update,) = state.updates
        (update.folder / "spent").write_bytes(b"\xff\xfe")
        with pytest.raises(CorruptStateError, match="damaged"):
            update.delta()
