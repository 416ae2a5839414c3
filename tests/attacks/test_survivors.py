"""The server shows members another list, too few survivors, or no votes: no share leaves a member."""

from hashlib import sha256

import numpy as np
import pytest
from attackers import (
    Round,
    certificate_of,
    open_packets,
    sealed_to_strangers,
    sign_answer,
    sign_vote,
)

from fedit_shared.errors import ConflictError, ForgedError, ProtocolError, UnsafeError
from fedit_shared.messages import Prepare
from fedit_shared.parameters import PRIMES, CohortParameters
from fedit_shared.secagg import Aggregator
from fedit_shared.secagg.bodies import Survivor, decode_survivors, encode_certificate, encode_survivors


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


# Votes.


def test_a_member_votes_for_no_list_below_the_floor():
    round_ = Round()
    lines = decode_survivors(round_.report_all())
    device = round_.devices[0]
    for count in range(1, round_.session.floor):
        with pytest.raises(UnsafeError):
            round_.member(device).vote(round_.prepare(device), encode_survivors(lines[:count]))
    round_.member(device).vote(round_.prepare(device), encode_survivors(lines[: round_.session.floor]))


@pytest.mark.parametrize(("size", "floor"), [(3, 3), (4, 3), (5, 3), (6, 4), (9, 5), (10, 6), (255, 128)])
def test_the_protocols_own_floor_leaves_two_honest_survivors_and_a_majority(size, floor):
    numbers = CohortParameters(size)
    assert numbers.floor == floor
    assert floor >= numbers.corrupt + 2
    assert floor > size / 2


def test_the_floor_of_the_most_careful_member_binds_every_other():
    round_ = Round()
    round_.devices[4].floor = 5
    round_.session = round_.cohort.session()
    round_.uploads = round_.cohort.uploads(round_.session)
    round_.deals_of(round_.devices)
    device = round_.devices[0]
    with pytest.raises(UnsafeError):
        round_.member(device).vote(round_.prepare(device), round_.listing(round_.devices[:4]))
    without = round_.listing(round_.devices[:4])
    votes = certificate_of(round_.session, without, round_.devices)
    with pytest.raises(UnsafeError):
        round_.member(device).answer(round_.prepare(device), without, votes)


def test_a_member_votes_for_no_receipt_that_it_was_not_shown():
    round_ = Round()
    lines = decode_survivors(round_.report_all())
    device = round_.devices[1]
    unknown = [Survivor(lines[0].identity, sha256(b"another").digest()), *lines[1:]]
    stranger = sorted([Survivor(sha256(b"x").digest(), lines[0].receipt_hash), *lines], key=lambda line: line.identity)
    for wrong in (unknown, stranger):
        with pytest.raises(ForgedError):
            round_.member(device).vote(round_.prepare(device), encode_survivors(wrong))


def test_a_list_with_a_device_twice_or_cut_off_is_refused():
    round_ = Round()
    lines = decode_survivors(round_.report_all())
    device = round_.devices[1]
    whole = encode_survivors(lines)
    for wrong in (encode_survivors([lines[0], *lines]), encode_survivors(lines[::-1]), whole[:-1], whole[32:]):
        with pytest.raises(ProtocolError, match=r"strictly rising|cannot have"):
            round_.member(device).vote(round_.prepare(device), wrong)


def test_a_server_that_offers_a_second_list_is_stopped_by_its_own_books():
    round_ = Round()
    survivors = round_.report_all()
    fewer = round_.listing(round_.devices[:4])
    with pytest.raises(ConflictError):
        round_.aggregator.offer(fewer)
    round_.aggregator.offer(survivors)
    round_.vote_all(survivors)
    device = round_.devices[0]
    vote = round_.member(device).vote(round_.prepare(device), b"")
    round_.aggregator.offer(b"")
    with pytest.raises(ConflictError):
        round_.aggregator.add_vote(device.identity, sha256(b"").digest(), vote)
    with pytest.raises(ConflictError):
        round_.aggregator.offer(survivors)


def test_a_server_that_was_restarted_and_told_the_same_offers_the_same_list_and_no_other():
    """More reports came than when the list was fixed: choosing again would give another one."""
    round_ = Round(7)
    dealer, late = round_.devices[0], round_.devices[5:]
    round_.deal_instead((dealer, sealed_to_strangers(round_, dealer, late)))
    round_.report(round_.devices[:5])
    survivors = round_.choose()
    assert len(decode_survivors(survivors)) == 7
    votes = {d.identity: round_.member(d).vote(round_.prepare(d), survivors) for d in round_.devices[:3]}
    before = round_.aggregator
    again = Aggregator(round_.session)
    for identity, receipt in before.receipts.items():
        again.add_deal(identity, receipt.body, receipt.signature)
    round_.aggregator = again
    round_.report(round_.devices[:5])
    again.offer(survivors)
    round_.report(late)
    for identity, vote in votes.items():
        again.add_vote(identity, sha256(survivors).digest(), vote)
    with pytest.raises(ConflictError):
        again.offer(round_.listing(round_.devices[1:]))
    assert again.survivors == survivors


def test_a_list_is_offered_only_of_deals_that_came():
    round_ = Round()
    round_.deals_of(round_.devices[:4])
    with pytest.raises(ProtocolError):
        round_.aggregator.offer(round_.listing(round_.devices))
    assert round_.aggregator.survivors is None


def test_a_vote_for_a_list_that_was_not_offered_is_refused():
    round_ = Round()
    round_.report_all()
    device, fewer = round_.devices[0], round_.listing(round_.devices[:4])
    with pytest.raises(ConflictError):
        round_.aggregator.add_vote(device.identity, sha256(fewer).digest(), sign_vote(round_.session, device, fewer))


# Answers.


def test_no_share_leaves_a_member_without_a_certificate_for_the_very_list():
    round_ = Round()
    survivors, certificate = round_.certify()
    device = round_.devices[0]
    member, prepare = round_.member(device), round_.prepare(device)
    fewer = round_.listing(round_.devices[:4])
    other = Round(round_=2)
    for wrong_list, wrong_certificate in [
        (fewer, certificate),
        (survivors, certificate[: 96 * 3]),
        (survivors, certificate[96:] + certificate[:96]),
        (survivors, flipped(certificate, len(certificate) - 1)),
        (survivors, b""),
        (survivors, certificate[:96] * 4),
        (survivors, certificate[:-1]),
        (survivors, certificate_of(round_.session, fewer, round_.devices)),
        (survivors, certificate_of(other.session, survivors, round_.devices)),
        (survivors, certificate_of(round_.session, b"", round_.devices)),
    ]:
        with pytest.raises(ProtocolError):
            member.answer(prepare, wrong_list, wrong_certificate)
    assert member.answer(prepare, survivors, certificate) is not None


def test_strangers_votes_count_for_nothing():
    round_, others = Round(), Round(4, seed="strangers")
    survivors = round_.report_all()
    device = round_.devices[0]
    enough = round_.session.parameters.threshold
    for voters in (others.devices, [*round_.devices[: enough - 1], others.devices[0]]):
        with pytest.raises(ProtocolError, match="not in the cohort"):
            round_.member(device).answer(
                round_.prepare(device), survivors, certificate_of(round_.session, survivors, voters)
            )


def test_one_vote_too_few_opens_nothing():
    for size in (3, 4, 5, 6, 7):
        round_ = Round(size)
        survivors = round_.report_all()
        device, enough = round_.devices[0], round_.session.parameters.threshold
        for voters, opens in ((round_.devices[:enough], True), (round_.devices[: enough - 1], False)):
            certificate = certificate_of(round_.session, survivors, voters)
            if opens:
                assert round_.member(device).answer(round_.prepare(device), survivors, certificate)
            else:
                with pytest.raises(ForgedError, match="not enough"):
                    round_.member(device).answer(round_.prepare(device), survivors, certificate)


def test_votes_of_another_purpose_are_no_certificate():
    round_ = Round()
    survivors = round_.report_all()
    device = round_.devices[0]
    body = round_.session.sid + sha256(survivors).digest()
    for purpose in ("answer", "report", "deal", "result"):
        votes = encode_certificate({d.identity: d.key.sign(purpose, body) for d in round_.devices})
        with pytest.raises(ForgedError):
            round_.member(device).answer(round_.prepare(device), survivors, votes)


def test_a_certified_list_below_the_floor_is_not_answered():
    """The checks of the vote are repeated, whatever a third of the cohort and more has signed."""
    round_ = Round()
    fewer = round_.listing(round_.devices[:2])
    certificate = certificate_of(round_.session, fewer, round_.devices)
    with pytest.raises(UnsafeError):
        round_.member(round_.devices[0]).answer(round_.prepare(round_.devices[0]), fewer, certificate)


def test_a_certified_list_below_the_protocols_floor_is_not_answered():
    """In a cohort of nine, in which nobody asks for more than three."""
    round_ = Round(9)
    assert round_.session.floor == 5
    fewer = round_.listing(round_.devices[:4])
    certificate = certificate_of(round_.session, fewer, round_.devices)
    with pytest.raises(UnsafeError, match="floor is 5"):
        round_.member(round_.devices[0]).answer(round_.prepare(round_.devices[0]), fewer, certificate)


def test_a_list_has_at_most_as_many_lines_as_a_cohort_has_members():
    lines = [Survivor(k.to_bytes(32, "big"), bytes(32)) for k in range(256)]
    assert len(decode_survivors(encode_survivors(lines[:255]))) == 255
    with pytest.raises(ProtocolError):
        decode_survivors(encode_survivors(lines))


def test_the_empty_list_opens_nothing():
    round_ = Round()
    certificate = certificate_of(round_.session, b"", round_.devices)
    with pytest.raises(UnsafeError, match="nothing to open"):
        round_.member(round_.devices[0]).answer(round_.prepare(round_.devices[0]), b"", certificate)


def test_a_member_answers_with_every_survivors_share_or_not_at_all():
    round_ = Round(7)
    device, dealer = round_.devices[0], round_.devices[3]
    words = round_.session.parameters.words
    primes = np.repeat(np.array(PRIMES, np.int64), words // 2)
    survivors = round_.listing(round_.devices[1:])
    certificate = certificate_of(round_.session, survivors, round_.devices)
    answer = round_.member(device).answer(round_.prepare(device), survivors, certificate)
    assert answer is not None
    shares = sum(open_packets(round_, other)[0][:words].astype(np.int64) for other in round_.devices[1:])
    assert np.array_equal(np.frombuffer(answer[0], "<u4"), shares % primes)
    # A prepare without one of them is refused ...
    own = round_.prepare(device)
    for missing in range(1, 7):
        partly = Prepare(
            receipts=own.receipts[:missing] + own.receipts[missing + 1 :],
            packets=own.packets[:missing] + own.packets[missing + 1 :],
        )
        with pytest.raises(ForgedError, match="not shown"):
            round_.member(device).answer(partly, survivors, certificate)
    # ... and one whose packet does not open leaves the member silent.
    round_.deal_instead((dealer, sealed_to_strangers(round_, dealer, [device])))
    survivors = round_.listing(round_.devices[1:])
    certificate = certificate_of(round_.session, survivors, round_.devices)
    assert round_.member(device).answer(round_.prepare(device), survivors, certificate) is None


def test_asked_again_a_member_answers_the_same():
    round_ = Round()
    survivors, certificate = round_.certify()
    other = certificate_of(round_.session, survivors, round_.devices[:4])
    member, prepare = round_.member(round_.devices[0]), round_.prepare(round_.devices[0])
    assert member.answer(prepare, survivors, certificate) == member.answer(prepare, survivors, other)


def test_an_answer_before_the_certificate_or_for_another_list_is_refused():
    round_ = Round()
    survivors = round_.report_all()
    device = round_.devices[0]
    votes = certificate_of(round_.session, survivors, round_.devices)
    answer = round_.member(device).answer(round_.prepare(device), survivors, votes)
    assert answer is not None
    with pytest.raises(ConflictError):
        round_.aggregator.add_answer(device.identity, sha256(survivors).digest(), *answer)
    round_.vote_all(survivors)
    with pytest.raises(ConflictError):
        round_.aggregator.add_answer(device.identity, sha256(b"").digest(), *answer)
    round_.aggregator.add_answer(device.identity, sha256(survivors).digest(), *answer)


def test_an_answer_to_the_empty_list_is_refused_even_if_that_is_certified():
    round_ = Round()
    device = round_.devices[0]
    round_.aggregator.offer(b"")
    round_.vote_all(b"")
    words, signature = sign_answer(round_.session, device, b"", bytes(4 * round_.session.parameters.words))
    with pytest.raises(ConflictError):
        round_.aggregator.add_answer(device.identity, sha256(b"").digest(), words, signature)


def test_a_server_has_a_certificate_when_r_have_voted_for_the_list_that_is_offered():
    round_ = Round()
    survivors = round_.report_all()
    enough = round_.session.parameters.threshold
    for count, device in enumerate(round_.devices[:enough], start=1):
        vote = round_.member(device).vote(round_.prepare(device), survivors)
        round_.aggregator.add_vote(device.identity, sha256(survivors).digest(), vote)
        assert (round_.aggregator.certificate() is not None) is (count == enough)
    round_.aggregator.offer(b"")
    assert round_.aggregator.certificate() is None, "those were votes for another list"


def test_no_list_is_chosen_before_r_have_reported():
    round_ = Round()
    enough = round_.session.parameters.threshold
    round_.report(round_.devices[: enough - 1])
    assert round_.aggregator.choose_survivors() is None
    round_.report(round_.devices[enough - 1 : enough])
    assert round_.aggregator.choose_survivors() is not None
