"""What is forged, replayed, mixed up or too small is refused, by the side that it is meant to fool."""

from dataclasses import replace
from hashlib import sha256

import msgspec
import numpy as np
import pytest
from cohorts import NOT_AFTER, SERVER, Cohort, deal_all, prepare_for

from fedit_shared.errors import ConflictError, ForgedError, ProtocolError, SumError, UnsafeError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Prepare
from fedit_shared.parameters import PRIMES
from fedit_shared.secagg import Aggregator, RoundKey, VectorSum, check_vector, open_session, require_own_entry
from fedit_shared.secagg.bodies import AnswerBody, ReportBody, Survivor, decode_survivors, encode_survivors


class Round:
    """A cohort of ``size`` whose deals are all in."""

    def __init__(self, size: int = 5, seed: object = 0, **options: int) -> None:
        self.cohort = Cohort(size, seed, **options)
        self.session = self.cohort.session()
        self.uploads = self.cohort.uploads(self.session)
        self.aggregator = Aggregator(self.session)
        deal_all(self.aggregator, self.uploads)
        self.devices = self.cohort.devices

    def prepare(self, device) -> Prepare:
        return prepare_for(self.aggregator, self.uploads, device.identity)

    def member(self, device):
        return self.cohort.member(self.session, device)

    def report_all(self) -> bytes:
        for device in self.devices:
            self.aggregator.add_report(device.identity, *self.member(device).report(self.prepare(device)))
        survivors = self.aggregator.choose_survivors()
        assert survivors
        self.aggregator.offer(survivors)
        return survivors

    def vote_all(self, survivors: bytes) -> bytes:
        for device in self.devices:
            vote = self.member(device).vote(self.prepare(device), survivors)
            self.aggregator.add_vote(device.identity, sha256(survivors).digest(), vote)
        certificate = self.aggregator.certificate()
        assert certificate
        return certificate


def test_a_roster_that_the_server_did_not_sign_is_refused():
    cohort = Cohort(3)
    body = cohort.roster().encode()
    with pytest.raises(ForgedError):
        open_session(
            body,
            SigningKey(bytes(32)).sign("roster", body),
            cohort.settings,
            cohort.task,
            server_key=SERVER.public,
        )


@pytest.mark.parametrize("field", ["round", "adapter", "task_hash", "settings_hash", "federation"])
def test_a_roster_for_something_that_nobody_mustered_for_is_refused(field):
    cohort = Cohort(3)
    roster = cohort.roster()
    other = 2 if field == "round" else sha256(b"another").digest()
    with pytest.raises(ForgedError):
        cohort.session(replace(roster, **{field: other}))


def test_a_phantom_member_without_a_signed_muster_is_refused():
    cohort = Cohort(4)
    phantom = cohort.entry(cohort.devices[0])
    stolen = replace(cohort.entry(cohort.devices[1]), signature=phantom.signature)
    entries = (phantom, stolen, *[cohort.entry(d) for d in cohort.devices[2:]])
    with pytest.raises(ForgedError):
        cohort.session(replace(cohort.roster(), entries=entries))


def test_a_roster_with_a_member_twice_or_out_of_order_is_refused():
    cohort = Cohort(4)
    entries = cohort.roster().entries
    for wrong in ((entries[0], entries[0], *entries[2:]), (entries[1], entries[0], *entries[2:])):
        with pytest.raises(ProtocolError):
            cohort.session(replace(cohort.roster(), entries=wrong))


def test_a_member_whose_floor_the_server_lowered_keeps_out():
    cohort = Cohort(5)
    device = cohort.devices[2]
    device.floor = 5
    wanted = cohort.muster(device)
    device.floor = 3
    session = cohort.session()
    with pytest.raises(UnsafeError):
        require_own_entry(session, wanted, device.identity)


def test_a_cohort_that_cannot_meet_a_floor_is_refused():
    cohort = Cohort(4)
    cohort.devices[1].floor = 5
    with pytest.raises(UnsafeError):
        cohort.session()


def test_settings_that_reach_beyond_a_members_promise_are_refused():
    cohort = Cohort(3)
    cohort.settings = cohort.settings.replace(msgspec.msgpack.encode(NOT_AFTER), msgspec.msgpack.encode(NOT_AFTER + 1))
    with pytest.raises(UnsafeError):
        cohort.session()


def test_slots_too_small_for_the_cohort_are_refused():
    with pytest.raises(ProtocolError, match="too small"):
        Cohort(64, slot_bits=12, max_weight=64).session()


@pytest.mark.parametrize(
    "spoil",
    [
        lambda public: public[:-32] + bytes(32),
        lambda public: public[:-32] + (1).to_bytes(32, "little"),
        lambda public: b"\xff" * 1216,
    ],
    ids=["X25519 zero", "X25519 one", "ML-KEM out of range"],
)
def test_a_round_key_that_cannot_be_sealed_to_is_refused(spoil):
    cohort = Cohort(3)
    device = cohort.devices[0]
    device.round_key = RoundKey(bytes(96))
    device.round_key.public = spoil(device.round_key.public)
    with pytest.raises(ProtocolError):
        cohort.session()


def test_a_deal_of_another_session_or_device_is_refused():
    here, there = Round(), Round(round_=2)
    first, second = here.devices[:2]
    foreign = there.uploads[first.identity].contribution
    empty = Aggregator(here.session)
    with pytest.raises(ForgedError):
        empty.add_deal(first.identity, foreign.deal, foreign.signature)
    mine = here.uploads[first.identity].contribution
    with pytest.raises(ForgedError):
        empty.add_deal(second.identity, mine.deal, mine.signature)
    assert not empty.receipts


def test_a_second_different_deal_is_refused_and_the_first_stays():
    here = Round()
    device = here.devices[0]
    device.randomness = bytes(32)
    again = here.cohort.upload(here.session, device).contribution
    kept = here.aggregator.receipts[device.identity]
    with pytest.raises(ConflictError):
        here.aggregator.add_deal(device.identity, again.deal, again.signature)
    assert here.aggregator.receipts[device.identity] == kept


def test_a_packet_that_the_server_changed_is_its_own_fault_not_the_dealers():
    here = Round()
    device = here.devices[0]
    prepare = here.prepare(device)
    changed = bytes([prepare.packets[1][0] ^ 1]) + prepare.packets[1][1:]
    packets = [prepare.packets[0], changed, *prepare.packets[2:]]
    with pytest.raises(ForgedError):
        here.member(device).report(Prepare(receipts=prepare.receipts, packets=packets))


def test_a_dealer_whose_packet_does_not_open_becomes_an_edge_and_is_dropped_by_too_few_clean_members():
    here = Round(7)
    dealer = here.devices[3]
    stranger = RoundKey(bytes(96))
    entries = tuple(
        replace(entry, round_key=stranger.public) if entry.identity != dealer.identity else entry
        for entry in here.session.roster.entries
    )
    twisted = replace(here.session, roster=replace(here.session.roster, entries=entries))
    here.uploads[dealer.identity] = here.cohort.upload(twisted, dealer)
    bad = here.uploads[dealer.identity].contribution
    here.aggregator = Aggregator(here.session)
    deal_all(here.aggregator, here.uploads)
    assert here.aggregator.receipts[dealer.identity].body == bad.deal
    survivors = here.report_all()
    names = [survivor.identity for survivor in decode_survivors(survivors)]
    assert dealer.identity not in names
    assert len(names) == 6


def report_with_lies(here: Round, liars: int) -> list[bytes]:
    """The first ``liars`` devices report a wrong check value of the last dealer; returns who is chosen."""
    for device in here.devices:
        report, signature = here.member(device).report(here.prepare(device))
        if device in here.devices[:liars]:
            report = report[:-4] + (int.from_bytes(report[-4:], "little") ^ 1).to_bytes(4, "little")
            body = ReportBody(here.session.sid, device.identity, sha256(report).digest())
            signature = device.key.sign("report", body.encode())
        here.aggregator.add_report(device.identity, report, signature)
    survivors = here.aggregator.choose_survivors()
    assert survivors is not None
    return [survivor.identity for survivor in decode_survivors(survivors)]


@pytest.mark.parametrize(("size", "liars"), [(10, 1), (13, 1), (16, 2)])
def test_members_that_report_wrong_check_values_are_written_off_up_to_the_bound(size, liars):
    here = Round(size)
    assert report_with_lies(here, liars) == [device.identity for device in here.devices]


def test_a_dealer_whose_reports_cannot_be_decoded_is_dropped():
    here = Round(7)
    assert report_with_lies(here, 1) == [device.identity for device in here.devices[:-1]]


def test_a_member_votes_for_no_list_below_the_floor():
    here = Round()
    survivors = here.report_all()
    lines = decode_survivors(survivors)
    device = here.devices[0]
    for count in range(1, here.session.floor):
        with pytest.raises(UnsafeError):
            here.member(device).vote(here.prepare(device), encode_survivors(lines[:count]))


def test_a_member_votes_for_no_receipt_that_it_was_not_shown():
    here = Round()
    lines = decode_survivors(here.report_all())
    lines[0] = Survivor(lines[0].identity, sha256(b"another").digest())
    device = here.devices[1]
    with pytest.raises(ForgedError):
        here.member(device).vote(here.prepare(device), encode_survivors(lines))


def test_no_share_leaves_a_member_without_a_certificate_for_the_very_list():
    here = Round()
    survivors = here.report_all()
    certificate = here.vote_all(survivors)
    device = here.devices[0]
    member, prepare = here.member(device), here.prepare(device)
    fewer = encode_survivors(decode_survivors(survivors)[:4])
    for wrong_list, wrong_certificate in [
        (fewer, certificate),
        (survivors, certificate[: 96 * 3]),
        (survivors, certificate[96:] + certificate[:96]),
        (survivors, certificate[:-1] + bytes([certificate[-1] ^ 1])),
        (survivors, b""),
        (survivors, certificate[:96] * 4),
    ]:
        with pytest.raises(ProtocolError):
            member.answer(prepare, wrong_list, wrong_certificate)
    with pytest.raises(UnsafeError):
        member.answer(prepare, b"", certificate)
    assert member.answer(prepare, survivors, certificate) is not None


def test_a_split_view_gets_no_second_certificate():
    here = Round()
    survivors = here.report_all()
    fewer = encode_survivors(decode_survivors(survivors)[:4])
    with pytest.raises(ConflictError):
        here.aggregator.offer(fewer)
    here.vote_all(survivors)
    device = here.devices[0]
    vote = here.member(device).vote(here.prepare(device), b"")
    here.aggregator.offer(b"")
    with pytest.raises(ConflictError):
        here.aggregator.add_vote(device.identity, sha256(b"").digest(), vote)


def test_a_vote_for_another_sid_or_by_another_device_is_refused():
    here, there = Round(), Round(round_=2)
    survivors = here.report_all()
    device, other = here.devices[:2]
    foreign = there.member(device).vote(there.prepare(device), b"")
    with pytest.raises(ProtocolError):
        here.aggregator.add_vote(device.identity, sha256(survivors).digest(), foreign)
    vote = here.member(device).vote(here.prepare(device), survivors)
    with pytest.raises(ForgedError):
        here.aggregator.add_vote(other.identity, sha256(survivors).digest(), vote)
    assert not here.aggregator.votes


@pytest.mark.parametrize(("size", "liars"), [(5, 0), (7, 1), (13, 2), (13, 3)])
def test_lying_answers_up_to_the_bound_are_left_out_and_beyond_it_nothing_opens(size, liars):
    here = Round(size)
    survivors = here.report_all()
    certificate = here.vote_all(survivors)
    bound = (size - here.session.parameters.threshold) // 2
    for device in here.devices:
        answer = here.member(device).answer(here.prepare(device), survivors, certificate)
        assert answer is not None
        words, signature = answer
        if device in here.devices[:liars]:
            words = (1).to_bytes(4, "little") + words[4:]
            index = here.session.index(device.identity)
            body = AnswerBody(here.session.sid, sha256(survivors).digest(), index, sha256(words).digest())
            signature = device.key.sign("answer", body.encode())
        here.aggregator.add_answer(device.identity, sha256(survivors).digest(), words, signature)
    key = here.aggregator.open_key()
    total = VectorSum(here.session)
    for upload in here.uploads.values():
        total.add(upload.vector)
    if liars <= bound:
        assert key is not None
        assert total.slots(key, size)[-3] >= size
        assert set(here.aggregator.suspects()) == {device.identity for device in here.devices[:liars]}
    else:
        assert key is None


def test_a_wrong_key_is_noticed_before_anything_is_published():
    here = Round()
    total = VectorSum(here.session)
    for upload in here.uploads.values():
        total.add(upload.vector)
    with pytest.raises(SumError):
        total.slots(np.zeros((2, 4096), np.uint32), 5)


def test_an_answer_with_a_word_that_is_no_residue_is_refused():
    here = Round()
    survivors = here.report_all()
    certificate = here.vote_all(survivors)
    device = here.devices[0]
    answer = here.member(device).answer(here.prepare(device), survivors, certificate)
    assert answer is not None
    words = PRIMES[0].to_bytes(4, "little") + answer[0][4:]
    with pytest.raises(ProtocolError, match="residue"):
        here.aggregator.add_answer(device.identity, sha256(survivors).digest(), words, answer[1])


def test_an_upload_with_a_word_that_is_no_residue_is_refused():
    here = Round(3)
    vector = here.uploads[here.devices[0].identity].vector.copy()
    vector[0, 1, 7] = PRIMES[1]
    with pytest.raises(ProtocolError, match="residue"):
        check_vector(here.session, vector)


def test_secrets_do_not_show_in_a_repr():
    key, round_key = SigningKey(b"\x07" * 32), RoundKey(b"\x07" * 96)
    assert "0707" not in repr(key) + repr(round_key)
