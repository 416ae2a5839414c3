"""What a member or the server does with words that somebody else has signed: whoever lies signs what it likes."""

from collections.abc import Callable, Sequence
from functools import cache
from hashlib import sha256
from typing import Any, NamedTuple

from cohorts import NOT_AFTER, SERVER, Cohort, Device, Upload, deal_all, prepare_for
from msgspec.structs import replace

from edge_client.rounds import checks
from fedit_shared import adapter
from fedit_shared.errors import FeditError
from fedit_shared.messages import (
    Certificate,
    Deal,
    Offer,
    Prepare,
    Result,
    decode,
    decode_task,
    encode,
)
from fedit_shared.secagg import Aggregator, Session, split_packets
from fedit_shared.secagg.bodies import (
    OUTCOMES,
    AnswerBody,
    OfferBody,
    ReportBody,
    ResultBody,
    VoteBody,
    decode_survivors,
    encode_certificate,
)

from .forms import BYTES, MSGPACK
from .target import Read, Target

Tell = Callable[[bytes], None]


class Stage(NamedTuple):
    """A cohort of three that has reported, voted and could answer."""

    cohort: Cohort
    session: Session
    uploads: dict[bytes, Upload]
    aggregator: Aggregator
    reports: dict[bytes, bytes]
    survivors: bytes
    certificate: bytes
    answers: dict[bytes, bytes]

    @property
    def device(self) -> Device:
        return self.cohort.devices[0]

    @property
    def prepare(self) -> Prepare:
        return prepare_for(self.aggregator, self.uploads, self.device.identity)

    def dealt(self) -> Aggregator:
        """The server, with all deals and no report."""
        aggregator = Aggregator(self.session)
        deal_all(aggregator, self.uploads)
        return aggregator


@cache
def _stage() -> Stage:
    cohort = Cohort(3, "fuzzing", dimension=20)
    session = cohort.session()
    uploads = cohort.uploads(session)
    aggregator = Aggregator(session)
    deal_all(aggregator, uploads)
    prepared = {d.identity: prepare_for(aggregator, uploads, d.identity) for d in cohort.devices}
    reports, answers = {}, {}
    for device in cohort.devices:
        report, signature = cohort.member(session, device).report(prepared[device.identity])
        reports[device.identity] = report
        aggregator.add_report(device.identity, report, signature)
    survivors = aggregator.choose_survivors()
    assert survivors
    aggregator.offer(survivors)
    for device in cohort.devices:
        vote = cohort.member(session, device).vote(prepared[device.identity], survivors)
        aggregator.add_vote(device.identity, sha256(survivors).digest(), vote)
    certificate = aggregator.certificate()
    assert certificate
    for device in cohort.devices:
        answered = cohort.member(session, device).answer(prepared[device.identity], survivors, certificate)
        assert answered is not None
        answers[device.identity] = answered[0]
    return Stage(cohort, session, uploads, aggregator, reports, survivors, certificate, answers)


def _offer() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()

    def read(data: bytes) -> None:
        offer, device = decode(data, Offer), stage.device.key.public
        task_hash = sha256(offer.task).digest()
        times = offer.train_until, offer.not_after
        body = OfferBody(stage.cohort.federation, device, task_hash, offer.round, offer.adapter, *times)
        signed = replace(offer, signature=SERVER.sign("checkin", body.encode()))
        checks.check_offer(signed, identity=device, server_key=SERVER.public)

    offer = Offer(
        task=stage.cohort.task,
        round=1,
        adapter=stage.cohort.adapter,
        adapter_size=adapter.file_size(decode_task(stage.cohort.task).tensors),
        train_until=NOT_AFTER,
        not_after=NOT_AFTER,
        signature=bytes(64),
    )
    return read, [encode(offer)]


def _signed_roster() -> tuple[Read, Sequence[bytes]]:
    cohort = _stage().cohort

    def read(data: bytes) -> None:
        checks.open_session(data, SERVER.sign("roster", data), cohort.settings, cohort.task, server_key=SERVER.public)

    return read, [cohort.roster().encode()]


def _session(of: str) -> tuple[Read, Sequence[bytes]]:
    """A session whose members all signed up to this task, or are given these settings."""

    def read(data: bytes) -> None:
        cohort = Cohort(3, "fuzzing", dimension=20)
        setattr(cohort, of, data)
        session = cohort.session()
        assert 0 < session.dimension <= 2**31
        assert session.rows > 0

    return read, [getattr(_stage().cohort, of)]


def _prepare() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()
    member = stage.cohort.member(stage.session, stage.device)
    return lambda data: bool(member.report(decode(data, Prepare))), [encode(stage.prepare)]


def _certificate() -> tuple[Read, Sequence[bytes]]:
    """Both lists, from which a member answers only if the votes are there and it has seen every receipt."""
    stage = _stage()
    member, prepare = stage.cohort.member(stage.session, stage.device), stage.prepare

    def read(data: bytes) -> None:
        message = decode(data, Certificate)
        voted = None
        try:
            voted = member.vote(prepare, message.survivors)
        finally:
            answered = member.answer(prepare, message.survivors, message.certificate)
            assert voted is not None or answered is None
            assert message.survivors == stage.survivors

    return read, [encode(Certificate(survivors=stage.survivors, certificate=stage.certificate))]


def _result() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()
    contribution = stage.uploads[stage.device.identity].contribution

    def read(data: bytes) -> None:
        result, session = decode(data, Result), stage.session
        body = ResultBody(
            session.sid,
            result.round,
            OUTCOMES.index(result.outcome),
            sha256(result.survivors).digest(),
            result.adapter,
            result.total_weight,
        )
        verdict = checks.check_result(
            replace(result, signature=SERVER.sign("result", body.encode())),
            session,
            (contribution.deal, contribution.signature),
            identity=stage.device.key.public,
            server_key=SERVER.public,
        )
        assert not (verdict.counted and verdict.reusable)

    empty = {
        d.identity: d.key.sign("vote", VoteBody(stage.session.sid, sha256(b"").digest()).encode())
        for d in stage.cohort.devices
    }
    ends = [("published", stage.survivors, stage.certificate), ("abandoned", b"", encode_certificate(empty))]
    return read, [
        encode(
            Result(
                cohort=stage.session.roster.cohort,
                round=1,
                outcome=outcome,
                survivors=survivors,
                certificate=certificate,
                adapter=stage.cohort.adapter,
                total_weight=3,
                mean_loss=1.5,
                signature=bytes(64),
            )
        )
        for outcome, survivors, certificate in [*ends, ("failed", stage.survivors, stage.certificate)]
    ]


def _deal() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()
    device = stage.device

    def read(data: bytes) -> None:
        message = decode(data, Deal)
        signature = device.key.sign("deal", message.body)
        split = split_packets(stage.session, device.identity, message.body, signature, message.packets)
        assert b"".join(part[: len(message.packets) // 3] for part in split) == message.packets

    contribution = stage.uploads[device.identity].contribution
    return read, [
        encode(
            Deal(
                cohort=stage.session.roster.cohort,
                body=contribution.deal,
                signature=contribution.signature,
                packets=contribution.packets,
            )
        )
    ]


def _state(aggregator: Aggregator) -> Any:
    twin = aggregator.snapshot()
    return {name: repr(value) for name, value in vars(twin).items() if name != "_judge"}


def _refusing(aggregator: Aggregator, add: Callable[[], None]) -> None:
    """What is refused has changed nothing."""
    before = _state(aggregator)
    try:
        add()
    except FeditError:
        assert _state(aggregator) == before
        raise


def _report() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()
    device = stage.device

    def read(data: bytes) -> None:
        aggregator = stage.dealt()
        body = ReportBody(stage.session.sid, device.identity, sha256(data).digest())
        signature = device.key.sign("report", body.encode())
        _refusing(aggregator, lambda: aggregator.add_report(device.identity, data, signature))
        others = [other for other in stage.cohort.devices if other is not device]
        for other in others:
            said = stage.reports[other.identity]
            signed = ReportBody(stage.session.sid, other.identity, sha256(said).digest()).encode()
            aggregator.add_report(other.identity, said, other.key.sign("report", signed))
        assert all(s.identity in aggregator.receipts for s in decode_survivors(aggregator.choose_survivors() or b""))

    return read, [stage.reports[device.identity]]


def _answer() -> tuple[Read, Sequence[bytes]]:
    stage = _stage()
    device, digest = stage.device, sha256(stage.survivors).digest()
    index = stage.session.index(device.identity)

    def read(data: bytes) -> None:
        aggregator = stage.aggregator.snapshot()
        body = AnswerBody(stage.session.sid, digest, index, sha256(data).digest())
        signature = device.key.sign("answer", body.encode())
        _refusing(aggregator, lambda: aggregator.add_answer(device.identity, digest, data, signature))

    return read, [stage.answers[device.identity]]


TARGETS = [
    Target("member-offer", _offer, MSGPACK, cases=60),
    Target("member-roster", _signed_roster, BYTES, longest=5000, cases=60),
    Target("member-task", lambda: _session("task"), MSGPACK, cases=60),
    Target("member-settings", lambda: _session("settings"), MSGPACK, cases=60),
    Target("member-prepare", _prepare, MSGPACK, longest=65536, cases=60),
    Target("member-certificate", _certificate, MSGPACK, cases=60),
    Target("member-result", _result, MSGPACK, cases=60),
    Target("cohort-deal", _deal, MSGPACK, longest=65536, cases=60),
    Target("cohort-report", _report, BYTES, longest=1000, cases=60),
    Target("cohort-answer", _answer, BYTES, longest=32768, cases=60),
]
