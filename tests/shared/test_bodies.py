"""What is signed has one layout, and nothing else is read as it."""

import dataclasses
import struct
from hashlib import sha256
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reference import bodies as reference

from fedit_shared.errors import ProtocolError
from fedit_shared.secagg.bodies import (
    AnswerBody,
    DealBody,
    EnrolBody,
    Finding,
    MusterBody,
    OfferBody,
    ReportBody,
    ResultBody,
    RosterBody,
    RosterEntry,
    Survivor,
    VoteBody,
    decode_certificate,
    decode_report,
    decode_survivors,
    encode_certificate,
    encode_report,
    encode_survivors,
    receipt_hash,
    require_rising,
)

SIZES = {
    EnrolBody: 104,
    OfferBody: 152,
    MusterBody: 146,
    DealBody: 128,
    ReportBody: 96,
    VoteBody: 64,
    AnswerBody: 100,
    ResultBody: 113,
}
HASHES = st.binary(min_size=32, max_size=32)
PEOPLE = st.lists(HASHES, unique=True, min_size=1, max_size=12).map(sorted)
TIMES = ("time", "train_until", "not_after")
WORD = st.integers(0, 2**32 - 1)


def values_of(kind: Any) -> st.SearchStrategy[Any]:
    widths = {"floor": 2, "index": 4, "outcome": 1}
    largest = {name: 256**width - 1 for name, width in widths.items()} | dict.fromkeys(TIMES, 2**40)
    return st.builds(
        kind,
        **{
            field.name: st.integers(0, largest.get(field.name, 2**64 - 1)) if field.type is int else HASHES
            for field in dataclasses.fields(kind)
        },
    )


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_a_body_comes_back_from_its_bytes_and_from_no_others(kind: Any, data: st.DataObject) -> None:
    body = data.draw(values_of(kind))
    raw = body.encode()
    assert len(raw) == SIZES[kind]
    assert kind.decode(raw) == body
    for wrong in (raw + b"\0", raw[:-1], b""):
        with pytest.raises(ProtocolError):
            kind.decode(wrong)


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
@given(data=st.data())
def test_bodies_that_differ_in_one_field_differ_in_their_bytes(kind: Any, data: st.DataObject) -> None:
    body, other = data.draw(values_of(kind)), data.draw(values_of(kind))
    for field in dataclasses.fields(kind):
        changed = dataclasses.replace(body, **{field.name: getattr(other, field.name)})
        assert (changed.encode() == body.encode()) is (changed == body)


@given(HASHES, HASHES, HASHES, st.integers(0, 2**63), st.integers(0, 255))
def test_bodies_are_laid_out_as_the_protocol_says(
    one: bytes, two: bytes, three: bytes, number: int, small: int
) -> None:
    assert VoteBody(one, sha256(two).digest()).encode() == reference.vote(one, two)
    assert DealBody(one, two, sha256(three).digest(), one).encode() == reference.deal(one, two, three, one)
    assert ReportBody(one, two, sha256(three).digest()).encode() == reference.report_body(one, two, three)
    enrol = EnrolBody(one, two, sha256(three).digest(), number)
    assert enrol.encode() == reference.enrol(one, two, three, number)
    result = ResultBody(one, number, small, sha256(two).digest(), sha256(three).digest(), number)
    assert result.encode() == reference.result(one, number, small, two, three, number)


@pytest.mark.parametrize("kind", SIZES, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("time", [2**40 + 1, 2**64 - 1])
def test_a_time_later_than_any_message_may_name_is_refused_in_a_body(kind: Any, time: int) -> None:
    fields = {field.name: 0 if field.type is int else bytes(32) for field in dataclasses.fields(kind)}
    for name in fields.keys() & set(TIMES):
        kind.decode(kind(**fields | {name: 2**40}).encode())
        with pytest.raises(ProtocolError, match=str(time)):
            kind.decode(kind(**fields | {name: time}).encode())


def test_a_roster_in_which_one_member_promises_longer_than_any_message_may_name_is_refused() -> None:
    late = dataclasses.replace(roster(3).entries[1], not_after=2**40 + 1)
    entries = (roster(3).entries[0], late, roster(3).entries[2])
    with pytest.raises(ProtocolError, match=str(2**40 + 1)):
        RosterBody.decode(dataclasses.replace(roster(3), entries=entries).encode())


ROSTER_HEAD = (bytes(32), bytes(32), 7, bytes(16), bytes(32), bytes(32))


def entry(identity: bytes) -> RosterEntry:
    return RosterEntry(identity, identity * 38, 3, 2**40, identity * 2)


def roster(count: int) -> RosterBody:
    people = sorted(sha256(bytes([k % 256, k // 256])).digest() for k in range(count))
    return RosterBody(*ROSTER_HEAD, tuple(map(entry, people)))


@pytest.mark.parametrize("count", [3, 4, 255])
def test_a_roster_comes_back_from_its_bytes(count: int) -> None:
    raw = roster(count).encode()
    assert RosterBody.decode(raw) == roster(count)
    assert len(raw) == 154 + 1322 * count


@pytest.mark.parametrize("count", [0, 1, 2, 256])
def test_a_roster_of_too_few_or_too_many_is_refused(count: int) -> None:
    with pytest.raises(ProtocolError):
        RosterBody.decode(roster(count).encode())


def test_a_roster_that_is_cut_off_or_longer_or_counts_wrong_is_refused() -> None:
    raw = roster(4).encode()
    shorter, longer = (raw[:152] + struct.pack("<H", count) + raw[154:] for count in (3, 5))
    for wrong in (raw[:-1], raw + b"\0", raw[:-1322], raw[:153], b"", shorter, longer):
        with pytest.raises(ProtocolError):
            RosterBody.decode(wrong)


def test_a_roster_out_of_order_or_with_somebody_twice_is_refused() -> None:
    whole = roster(4)
    first, second, *rest = whole.entries
    for entries in ((second, first, *rest), (first, first, *rest), (first, *rest, second)):
        with pytest.raises(ProtocolError, match="rising"):
            RosterBody.decode(dataclasses.replace(whole, entries=tuple(entries)).encode())


@given(PEOPLE, st.data())
def test_survivors_and_certificates_come_back_and_look_as_the_protocol_says(
    people: list[bytes], data: st.DataObject
) -> None:
    receipts = {who: data.draw(st.binary(min_size=192, max_size=192)) for who in people}
    survivors = [Survivor(who, sha256(receipts[who]).digest()) for who in people]
    assert encode_survivors(survivors) == reference.survivors(receipts)
    assert decode_survivors(encode_survivors(survivors)) == survivors
    votes = {who: receipts[who][:64] for who in reversed(people)}
    assert encode_certificate(votes) == reference.certificate(votes)
    assert decode_certificate(encode_certificate(votes)) == votes


@given(PEOPLE, st.data())
def test_a_report_comes_back_and_looks_as_the_protocol_says(people: list[bytes], data: st.DataObject) -> None:
    checks = st.none() | st.tuples(*[WORD] * 8)
    said = {who: (who * 6, data.draw(checks)) for who in people}
    findings = [Finding(who, sha256(receipt).digest(), values) for who, (receipt, values) in said.items()]
    raw = encode_report(findings)
    assert raw == reference.report({who: (r, None if v is None else list(v)) for who, (r, v) in said.items()})
    assert decode_report(raw) == findings


@pytest.mark.parametrize(("read", "step"), [(decode_survivors, 64), (decode_certificate, 96), (decode_report, 97)])
def test_a_list_out_of_order_or_cut_off_or_with_somebody_twice_is_refused(read: Any, step: int) -> None:
    lines = [bytes([k]) * 32 + bytes(step - 32) for k in (1, 2, 3)]
    assert len(read(b"".join(lines))) == 3
    first, second, third = lines
    for wrong in (second + first + third, first + first, b"".join(lines)[:-1], b"".join(lines) + b"\0"):
        with pytest.raises(ProtocolError):
            read(wrong)


@pytest.mark.parametrize(("read", "step"), [(decode_survivors, 64), (decode_certificate, 96)])
def test_a_list_of_more_than_a_cohort_is_refused(read: Any, step: int) -> None:
    lines = [k.to_bytes(32, "big") + bytes(step - 32) for k in range(256)]
    assert len(read(b"".join(lines[:255]))) == 255
    with pytest.raises(ProtocolError):
        read(b"".join(lines))


def test_nobody_is_a_list_too() -> None:
    assert encode_survivors([]) == b""
    assert decode_survivors(b"") == []
    assert decode_certificate(b"") == {}
    assert decode_report(b"") == []


@pytest.mark.parametrize(("at", "byte"), [(64, 2), (64, 255), (65, 1), (96, 1)])
def test_a_report_that_says_neither_edge_nor_check_values_is_refused(at: int, byte: int) -> None:
    raw = bytearray(encode_report([Finding(bytes(32), bytes(32), None)]))
    raw[at] = byte
    with pytest.raises(ProtocolError, match="neither"):
        decode_report(bytes(raw))


def test_check_values_that_are_all_zero_are_no_edge() -> None:
    finding = Finding(bytes(32), bytes(32), (0,) * 8)
    assert decode_report(encode_report([finding])) == [finding]


def test_a_receipt_is_named_by_deal_and_signature_together() -> None:
    deal, signature = bytes(128), bytes(range(64))
    assert receipt_hash(deal, signature) == sha256(deal + signature).digest()
    assert receipt_hash(deal, signature[::-1]) != receipt_hash(deal, signature)


def test_rising_means_that_nobody_stands_twice() -> None:
    require_rising([b"a", b"b", b"c"], "list")
    require_rising([], "list")
    for wrong in ([b"a", b"a"], [b"b", b"a"], [b"a", b"c", b"b"]):
        with pytest.raises(ProtocolError, match="list"):
            require_rising(wrong, "list")
