"""Every message of a cohort on its way to the server: forged, renamed, of another session or purpose, twice, changed.
And what the server may claim of a round's end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from hashlib import sha256

import pytest
from attackers import Round, certificate_of, sign_vote
from cohorts import SERVER, Device

from edge_client.rounds import Verdict, check_result
from fedit_shared.errors import ConflictError, ForgedError, ProtocolError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Result
from fedit_shared.secagg import Aggregator
from fedit_shared.secagg.bodies import (
    OUTCOMES,
    AnswerBody,
    DealBody,
    Outcome,
    ReportBody,
    ResultBody,
    VoteBody,
    decode_report,
    encode_report,
    encode_survivors,
    receipt_hash,
)

OTHER_SID = sha256(b"another session").digest()
Message = tuple[bytes, ...]


@dataclass
class Kind:
    """One kind of message at the moment when it is due. ``body``: what its device signs, with any sid."""

    round: Round
    purpose: str
    content: Callable[[Device], Message]
    body: Callable[[Device, Message, bytes], bytes]
    deliver: Callable[..., None]
    kept: Callable[[], dict[bytes, object]]
    another: Callable[[Device], Message] | None

    def signed(self, device: Device, message: Message, *, sid: bytes = b"", by: Device | None = None) -> bytes:
        body = self.body(device, message, sid or self.round.session.sid)
        return (by or device).key.sign(self.purpose, body)

    def send(self, identity: bytes, message: Message, signature: bytes) -> None:
        self.deliver(identity, *message, signature)


def deals() -> Kind:
    round_ = Round()
    aggregator = Aggregator(round_.session)

    def another(device: Device) -> Message:
        own = DealBody.decode(round_.uploads[device.identity].contribution.deal)
        return (replace(own, vector_hash=bytes(32)).encode(),)

    return Kind(
        round_,
        "deal",
        lambda device: (round_.uploads[device.identity].contribution.deal,),
        lambda device, message, sid: replace(DealBody.decode(message[0]), sid=sid).encode(),
        aggregator.add_deal,
        lambda: dict(aggregator.receipts),
        another,
    )


def reports() -> Kind:
    round_ = Round()

    def another(device: Device) -> Message:
        findings = decode_report(round_.member(device).report(round_.prepare(device))[0])
        return (encode_report([replace(findings[0], checks=None), *findings[1:]]),)

    return Kind(
        round_,
        "report",
        lambda device: (round_.member(device).report(round_.prepare(device))[0],),
        lambda device, message, sid: ReportBody(sid, device.identity, sha256(message[0]).digest()).encode(),
        round_.aggregator.add_report,
        lambda: dict(round_.aggregator.reports),
        another,
    )


def votes() -> Kind:
    """Of the empty list, whose hash is the same in every session; the other vote is for a list offered before."""
    round_ = Round()
    survivors = round_.report_all()
    round_.aggregator.offer(b"")
    return Kind(
        round_,
        "vote",
        lambda device: (sha256(b"").digest(),),
        lambda device, message, sid: VoteBody(sid, message[0]).encode(),
        round_.aggregator.add_vote,
        lambda: dict(round_.aggregator.votes),
        lambda device: (sha256(survivors).digest(),),
    )


def answers() -> Kind:
    round_ = Round()
    survivors, certificate = round_.certify()

    def content(device: Device) -> Message:
        answer = round_.member(device).answer(round_.prepare(device), survivors, certificate)
        assert answer is not None
        return sha256(survivors).digest(), answer[0]

    def body(device: Device, message: Message, sid: bytes) -> bytes:
        index = round_.session.index(device.identity)
        return AnswerBody(sid, message[0], index, sha256(message[1]).digest()).encode()

    return Kind(
        round_,
        "answer",
        content,
        body,
        round_.aggregator.add_answer,
        lambda: dict(round_.aggregator.answers),
        lambda device: (sha256(survivors).digest(), bytes(4 * round_.session.parameters.words)),
    )


every_kind = pytest.mark.parametrize("make", [deals, reports, votes, answers])


@every_kind
def test_a_forged_message_is_refused_and_nothing_of_it_kept(make: Callable[[], Kind]):
    kind = make()
    device = kind.round.devices[1]
    message = kind.content(device)
    signature = kind.signed(device, message)
    for wrong in (bytes(64), signature[:-1] + bytes([signature[-1] ^ 1]), bytes([signature[0] ^ 1]) + signature[1:]):
        with pytest.raises(ForgedError):
            kind.send(device.identity, message, wrong)
    assert not kind.kept()
    kind.send(device.identity, message, signature)
    assert kind.kept()


@every_kind
def test_a_message_under_another_members_name_is_refused(make: Callable[[], Kind]):
    kind = make()
    device, other = kind.round.devices[1:3]
    message = kind.content(device)
    with pytest.raises(ProtocolError):
        kind.send(other.identity, message, kind.signed(device, message))
    with pytest.raises(ForgedError):
        kind.send(device.identity, message, kind.signed(device, message, by=other))
    assert not kind.kept()


@every_kind
def test_a_message_of_a_stranger_is_refused_although_its_signature_holds(make: Callable[[], Kind]):
    kind = make()
    device = kind.round.devices[1]
    message = kind.content(device)
    stranger = replace(device, key=SigningKey(sha256(b"stranger").digest()))
    with pytest.raises(ProtocolError, match="not in the cohort"):
        kind.send(stranger.identity, message, kind.signed(device, message, by=stranger))
    assert not kind.kept()


@every_kind
def test_a_message_that_was_signed_for_another_session_is_refused(make: Callable[[], Kind]):
    kind = make()
    device = kind.round.devices[1]
    message = kind.content(device)
    with pytest.raises(ForgedError):
        kind.send(device.identity, message, kind.signed(device, message, sid=OTHER_SID))
    assert not kind.kept()


def test_a_deal_for_another_session_is_refused_although_its_signature_holds():
    kind = deals()
    device = kind.round.devices[1]
    replayed = replace(DealBody.decode(kind.content(device)[0]), sid=OTHER_SID).encode()
    with pytest.raises(ForgedError, match="another session"):
        kind.send(device.identity, (replayed,), device.key.sign("deal", replayed))
    taken = replace(DealBody.decode(kind.content(device)[0]), dealer=kind.round.devices[2].identity).encode()
    with pytest.raises(ForgedError, match="another device"):
        kind.send(device.identity, (taken,), device.key.sign("deal", taken))
    assert not kind.kept()


@every_kind
def test_a_signature_over_the_same_bytes_for_another_purpose_is_refused(make: Callable[[], Kind]):
    kind = make()
    device = kind.round.devices[1]
    message = kind.content(device)
    body = kind.body(device, message, kind.round.session.sid)
    for purpose in ("enrol", "request", "checkin", "muster", "roster", "deal", "report", "vote", "answer", "result"):
        if purpose != kind.purpose:
            with pytest.raises(ForgedError):
                kind.send(device.identity, message, device.key.sign(purpose, body))
    assert not kind.kept()


@every_kind
def test_a_message_sent_again_changes_nothing_and_a_second_different_one_is_refused(make: Callable[[], Kind]):
    kind = make()
    device = kind.round.devices[1]
    message = kind.content(device)
    kind.send(device.identity, message, kind.signed(device, message))
    kept = kind.kept()
    kind.send(device.identity, message, kind.signed(device, message))
    other = kind.another(device)
    with pytest.raises(ConflictError):
        kind.send(device.identity, other, kind.signed(device, other))
    assert kind.kept() == kept


def test_a_report_about_other_receipts_than_those_that_came_is_refused():
    kind = reports()
    device = kind.round.devices[1]
    findings = decode_report(kind.content(device)[0])
    wrong = [
        findings[1:],
        [replace(findings[0], receipt_hash=bytes(32)), *findings[1:]],
        [replace(findings[0], dealer=bytes(32)), *findings[1:]],
    ]
    for lines in wrong:
        message = (encode_report(lines),)
        with pytest.raises(ProtocolError, match="every other dealer"):
            kind.send(device.identity, message, kind.signed(device, message))
    assert not kind.kept()


def test_a_report_that_is_cut_off_or_says_neither_edge_nor_values_is_refused():
    kind = reports()
    device = kind.round.devices[1]
    (report,) = kind.content(device)
    flag = 64
    for wrong in (report[:-1], report[:flag] + b"\2" + report[flag + 1 :], report[:flag] + b"\0" + report[flag + 1 :]):
        with pytest.raises(ProtocolError, match=r"cut off|neither edge"):
            kind.send(device.identity, (wrong,), kind.signed(device, (wrong,)))
    doubled = report[: len(report) // 4] + report
    with pytest.raises(ProtocolError, match="strictly rising"):
        kind.send(device.identity, (doubled,), kind.signed(device, (doubled,)))
    assert not kind.kept()


def test_a_deal_of_another_length_is_refused():
    kind = deals()
    device = kind.round.devices[1]
    (deal,) = kind.content(device)
    for wrong in (deal[:-1], deal + b"\0", b""):
        with pytest.raises(ProtocolError, match="128 bytes"):
            kind.send(device.identity, (wrong,), device.key.sign("deal", wrong))


def test_a_deal_after_the_first_report_is_refused():
    round_ = Round()
    late, member = round_.devices[4], round_.devices[1]
    round_.deals_of(round_.devices[:4])
    round_.aggregator.add_report(member.identity, *round_.member(member).report(round_.prepare(member)))
    contribution = round_.uploads[late.identity].contribution
    with pytest.raises(ConflictError):
        round_.aggregator.add_deal(late.identity, contribution.deal, contribution.signature)
    again = round_.uploads[member.identity].contribution
    round_.aggregator.add_deal(member.identity, again.deal, again.signature)
    assert late.identity not in round_.aggregator.receipts


# From the server to a device; offers and other results: tests/edge_client/test_rounds_checks.py.


def result(round_: Round, survivors: bytes, certificate: bytes, outcome: Outcome) -> Result:
    number, digest = round_.session.roster.round, sha256(survivors).digest()
    said = ResultBody(round_.session.sid, number, OUTCOMES.index(outcome), digest, bytes(32), 9)
    return Result(
        cohort=round_.cohort.cohort,
        round=number,
        outcome=outcome,
        survivors=survivors,
        certificate=certificate,
        adapter=said.adapter,
        total_weight=9,
        mean_loss=None,
        signature=SERVER.sign("result", said.encode()),
    )


def judge(round_: Round, device: Device, message: Result) -> Verdict:
    own = round_.uploads[device.identity].contribution
    return check_result(
        message,
        round_.session,
        (own.deal, own.signature),
        identity=device.key.public,
        server_key=SERVER.public,
    )


def test_the_server_cannot_claim_without_votes_that_an_update_is_in_no_sum():
    """Else it would be given the same update a second time, beside others."""
    round_ = Round()
    survivors = round_.report_all()
    device = round_.devices[4]
    without = round_.listing(round_.devices[:4])
    too_few = certificate_of(round_.session, without, round_.devices[:3])
    for claimed, outcome in ((b"", "abandoned"), (without, "published"), (without, "failed")):
        with pytest.raises(ProtocolError):
            judge(round_, device, result(round_, claimed, too_few, outcome))
        if outcome != "failed":
            with pytest.raises(ProtocolError):
                judge(round_, device, result(round_, claimed, b"", outcome))
    assert not judge(round_, device, result(round_, b"", b"", "failed")).reusable
    assert not judge(round_, device, result(round_, without, b"", "failed")).reusable
    assert not judge(
        round_, device, result(round_, survivors, certificate_of(round_.session, survivors, round_.devices), "failed")
    ).reusable
    voted = certificate_of(round_.session, without, round_.devices[:4])
    assert judge(round_, device, result(round_, without, voted, "failed")).reusable
    voted = certificate_of(round_.session, b"", round_.devices[:4])
    assert judge(round_, device, result(round_, b"", voted, "abandoned")).reusable


def test_a_certificate_is_no_certificate_in_another_session():
    here, there = Round(), Round(round_=2)
    certificate = certificate_of(there.session, b"", there.devices)
    with pytest.raises(ForgedError):
        judge(here, here.devices[0], result(here, b"", certificate, "abandoned"))
    assert sign_vote(here.session, here.devices[0], b"") != sign_vote(there.session, there.devices[0], b"")


def test_a_survivors_line_names_one_receipt_of_one_device():
    round_ = Round()
    names = {encode_survivors([round_.line(device)]) for device in round_.devices}
    assert len(names) == 5
    own = round_.uploads[round_.devices[0].identity].contribution
    assert receipt_hash(own.deal, own.signature) != receipt_hash(own.deal, bytes(64))
