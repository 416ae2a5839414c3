"""The server shows members other packets, proofs or receipts than were dealt: they refuse, and blame no dealer."""

import pytest
from attackers import Round, seal_packets

from fedit_shared.errors import ForgedError, ProtocolError
from fedit_shared.messages import Prepare, Receipt
from fedit_shared.secagg import ROUND_SECRET_SIZE, RoundKey


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


@pytest.mark.parametrize("at", [0, 1200, -1], ids=["key", "ciphertext", "proof"])
def test_a_packet_or_proof_that_the_server_changed_is_its_own_fault_and_never_reported_as_the_dealers(at):
    round_ = Round()
    device, prepare = round_.devices[0], round_.prepare(round_.devices[0])
    at %= len(prepare.packets[1])
    packets = [prepare.packets[0], flipped(prepare.packets[1], at), *prepare.packets[2:]]
    changed = Prepare(receipts=prepare.receipts, packets=packets)
    with pytest.raises(ForgedError, match="did not deal"):
        round_.member(device).report(changed)
    survivors, certificate = round_.certify()
    with pytest.raises(ForgedError, match="did not deal"):
        round_.member(device).vote(changed, survivors)
    with pytest.raises(ForgedError, match="did not deal"):
        round_.member(device).answer(changed, survivors, certificate)


def test_a_packet_of_another_member_or_another_dealer_is_refused():
    round_ = Round()
    device, other = round_.devices[:2]
    own, others = round_.prepare(device), round_.prepare(other)
    swapped = [own.packets[0], own.packets[2], own.packets[1], *own.packets[3:]]
    for packets in (others.packets, swapped):
        with pytest.raises(ProtocolError):
            round_.member(device).report(Prepare(receipts=own.receipts, packets=packets))


def test_a_packet_that_is_cut_off_missing_or_too_many_is_refused():
    round_ = Round()
    device, own = round_.devices[0], round_.prepare(round_.devices[0])
    for packets in (
        [own.packets[0][:-1], *own.packets[1:]],
        [own.packets[0] + b"\0", *own.packets[1:]],
        [b"", *own.packets[1:]],
        own.packets[:-1],
        [*own.packets, own.packets[0]],
    ):
        with pytest.raises(ProtocolError, match=r"wrong size|more receipts"):
            round_.member(device).report(Prepare(receipts=own.receipts, packets=packets))


def test_receipts_that_are_forged_doubled_out_of_order_or_a_strangers_are_refused():
    round_, there = Round(), Round(round_=2)
    device, own = round_.devices[0], round_.prepare(round_.devices[0])
    first = own.receipts[1]
    forged = Receipt(identity=first.identity, body=first.body, signature=flipped(first.signature, 5))
    renamed = Receipt(identity=own.receipts[2].identity, body=first.body, signature=first.signature)
    foreign = there.prepare(there.devices[0]).receipts[1]
    for receipts in (
        [own.receipts[0], forged, *own.receipts[2:]],
        [own.receipts[0], foreign, *own.receipts[2:]],
        [own.receipts[0], first, renamed, *own.receipts[3:]],
        [own.receipts[0], first, first, *own.receipts[3:]],
        own.receipts[::-1],
    ):
        with pytest.raises(ProtocolError):
            round_.member(device).report(Prepare(receipts=receipts, packets=own.packets))


def test_a_dealer_shown_twice_is_refused_so_that_its_share_is_not_added_twice():
    """Else a member's answer, less the sum that the others open, were that dealer's share: a split view without a
    second certificate."""
    round_ = Round()
    device, own = round_.devices[0], round_.prepare(round_.devices[0])
    survivors, certificate = round_.certify()
    doubled = Prepare(
        receipts=[*own.receipts[:2], own.receipts[1], *own.receipts[2:]],
        packets=[*own.packets[:2], own.packets[1], *own.packets[2:]],
    )
    for ask in (
        lambda member: member.report(doubled),
        lambda member: member.vote(doubled, survivors),
        lambda member: member.answer(doubled, survivors, certificate),
    ):
        with pytest.raises(ProtocolError, match="strictly rising"):
            ask(round_.member(device))


def test_the_server_refuses_packets_that_are_not_those_of_the_receipt_or_not_of_the_cohorts_size():
    round_ = Round()
    device = round_.devices[0]
    own = round_.uploads[device.identity].contribution
    for packets, error in (
        (flipped(own.packets, 7), "not those that its receipt names"),
        (own.packets[:-1], "not of this cohort's size"),
        (own.packets + b"\0", "not of this cohort's size"),
    ):
        with pytest.raises(ProtocolError, match=error):
            round_.split(device, packets)


def test_who_has_one_half_of_a_round_keys_secret_opens_no_packet():
    """A later quantum computer finds the X25519 half of what was recorded; a break of ML-KEM, the other."""
    session, (dealer, member) = Round().session, Round().devices[:2]
    secret, other = (bytes([k]) * ROUND_SECRET_SIZE for k in (1, 2))
    plain = bytes(4 * session.parameters.packet_words)
    packet = seal_packets(session, dealer, [plain] * 5, {member.identity: RoundKey(secret).public})[1]

    def opened(key: bytes) -> bytes | None:
        return RoundKey(key).open(packet, session.sid, dealer.identity, member.identity)

    assert opened(secret) == plain
    assert opened(other[:64] + secret[64:]) is None
    assert opened(secret[:64] + other[64:]) is None
