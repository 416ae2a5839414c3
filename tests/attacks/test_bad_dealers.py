"""Dealers whose packets, shares or vectors are wrong: left out where that can be told, else nothing is published."""

from collections.abc import Callable

import numpy as np
import pytest
from attackers import (
    Round,
    Words,
    bound,
    certificate_of,
    open_packets,
    poisoned,
    seal_packets,
    sealed_to_strangers,
    spoilt_shares,
)
from cohorts import Device, Upload

from fedit_shared.errors import ForgedError, ProtocolError, SumError
from fedit_shared.messages import Prepare
from fedit_shared.parameters import CHECKS, PRIMES
from fedit_shared.secagg.bodies import decode_survivors
from fedit_shared.secagg.checks import challenge, check_values
from fedit_shared.secagg.decoding import off_places
from fedit_shared.secagg.prg import key_from
from fedit_shared.secagg.sealing import OVERHEAD

P = PRIMES[0]
Attack = Callable[[Round, Device], Upload]


def wrong_keys(round_: Round, dealer: Device) -> Upload:
    """Packets that nobody can open."""
    return sealed_to_strangers(round_, dealer, round_.devices)


def two_off(round_: Round, dealer: Device) -> Upload:
    """Two members get a share that is off the polynomial."""

    def spoil(words: list[Words]) -> None:
        for k in [k for k, device in enumerate(round_.devices) if device is not dealer][:2]:
            words[k][3] = (int(words[k][3]) + 1) % P

    return spoilt_shares(round_, dealer, spoil)


def off_in_the_last_block_of_the_second_prime(round_: Round, dealer: Device) -> Upload:
    last = round_.session.parameters.words - 1

    def spoil(words: list[Words]) -> None:
        for k in [k for k, device in enumerate(round_.devices) if device is not dealer][:2]:
            words[k][last] = (int(words[k][last]) + 1) % PRIMES[1]

    return spoilt_shares(round_, dealer, spoil)


def degree_too_high(round_: Round, dealer: Device) -> Upload:
    """Every share is right for a polynomial of degree r, one too many."""

    def spoil(words: list[Words]) -> None:
        for k, part in enumerate(words, start=1):
            part[0] = (int(part[0]) + pow(k, round_.session.parameters.threshold, P)) % P

    return spoilt_shares(round_, dealer, spoil)


def no_residues(round_: Round, dealer: Device) -> Upload:
    """Words that are the prime itself: 0 to those who do not look."""

    def spoil(words: list[Words]) -> None:
        for part in words:
            part[0] = P

    return spoilt_shares(round_, dealer, spoil)


def check_words_no_residues(round_: Round, dealer: Device) -> Upload:
    def spoil(words: list[Words]) -> None:
        for part in words:
            part[-1] = PRIMES[1]

    return spoilt_shares(round_, dealer, spoil)


def lengths_shifted(round_: Round, dealer: Device) -> Upload:
    """Plaintexts of wrong lengths whose packets have the right length in all."""
    plaintexts = [words.tobytes() for words in open_packets(round_, dealer)]
    plaintexts[0], plaintexts[-1] = plaintexts[0][:-8], plaintexts[-1] + bytes(8)
    joined = b"".join(seal_packets(round_.session, dealer, plaintexts))
    size = 4 * round_.session.parameters.packet_words + OVERHEAD
    slices = [joined[at : at + size] for at in range(0, len(joined), size)]
    return bound(round_.session, dealer, round_.uploads[dealer.identity].vector, slices)


def cancelled_at_exponent_zero(round_: Round, dealer: Device) -> Upload:
    """The first block's shares of two members are off, and their check words by as much the other way."""

    def spoil(words: list[Words]) -> None:
        checks = round_.session.parameters.words
        for k in [k for k, device in enumerate(round_.devices) if device is not dealer][:2]:
            words[k][0] = (int(words[k][0]) + 1) % P
            for check in range(CHECKS):
                words[k][checks + check] = (int(words[k][checks + check]) - 1) % P

    return spoilt_shares(round_, dealer, spoil)


ATTACKS = [
    wrong_keys,
    two_off,
    off_in_the_last_block_of_the_second_prime,
    degree_too_high,
    no_residues,
    check_words_no_residues,
    lengths_shifted,
    cancelled_at_exponent_zero,
]


def expect_sum_of(round_: Round, devices: list[Device]) -> None:
    """The round publishes the sum over just these devices: its key is the sum of theirs."""
    total = sum(key_from(device.randomness, round_.session.sid).astype(np.int64) for device in devices)
    (key,) = (opened.key for opened in round_.aggregator.open_key())
    assert np.array_equal(key, total % np.array(PRIMES)[:, None])
    weights = sum(round_.session.quantizer.weight(device.update.examples) for device in devices)
    mean = round_.publish()
    assert (mean.survivors, mean.total_weight) == (len(devices), weights)


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("size", [7, 10])
def test_bad_dealers_are_left_out_up_to_the_bound_and_the_others_sum_is_published(attack: Attack, size: int):
    round_ = Round(size)
    bad = round_.devices[: round_.session.parameters.corrupt]
    round_.deal_instead(*[(dealer, attack(round_, dealer)) for dealer in bad])
    round_.run()
    assert [s.identity for s in decode_survivors(round_.aggregator.survivors or b"")] == [
        device.identity for device in round_.devices[len(bad) :]
    ]
    expect_sum_of(round_, round_.devices[len(bad) :])


def test_so_many_bad_dealers_that_too_few_are_left_open_nothing():
    round_ = Round(7)
    bad = round_.devices[:4]
    round_.deal_instead(*[(dealer, two_off(round_, dealer)) for dealer in bad])
    round_.report()
    assert round_.aggregator.choose_survivors() is None


@pytest.mark.parametrize("attack", [two_off, degree_too_high, cancelled_at_exponent_zero])
def test_bad_shares_in_a_cohort_too_small_to_tell_open_nothing(attack: Attack):
    for answering in (4, 5):
        round_ = Round(5)
        dealer = round_.devices[0]
        round_.deal_instead((dealer, attack(round_, dealer)))
        survivors, certificate = round_.certify()
        assert len(decode_survivors(survivors)) == 5
        round_.answer_all(survivors, certificate, round_.devices[:answering])
        agreed = answering == round_.session.parameters.threshold
        with pytest.raises(SumError, match="does not open" if agreed else "do not agree"):
            round_.slots()


def test_a_dealer_that_gives_one_member_a_wrong_share_costs_that_members_answer_and_no_update():
    round_ = Round(10)
    dealer, member = round_.devices[0], round_.devices[4]

    def spoil(words: list[Words]) -> None:
        words[4][0] = (int(words[4][0]) + 1) % P

    round_.deal_instead((dealer, spoilt_shares(round_, dealer, spoil)))
    round_.run()
    expect_sum_of(round_, round_.devices)
    assert member.identity not in round_.aggregator.suspects()


def test_a_dealer_that_seals_one_packet_to_a_wrong_key_costs_that_members_answer_and_no_update():
    round_ = Round(5)
    dealer, member = round_.devices[0], round_.devices[4]
    round_.deal_instead((dealer, sealed_to_strangers(round_, dealer, [member])))
    round_.run()
    assert member.identity not in round_.aggregator.answers
    expect_sum_of(round_, round_.devices)


@pytest.mark.parametrize("seed", range(3))
def test_an_error_cancelled_at_exponent_0_would_escape_were_the_exponent_to_begin_there(seed: int):
    round_ = Round(7, seed)
    dealer = round_.devices[0]
    round_.deal_instead((dealer, cancelled_at_exponent_zero(round_, dealer)))
    numbers, deal = round_.session.parameters, round_.uploads[dealer.identity].contribution.deal
    packets = open_packets(round_, dealer)[1:]

    def from_zero(words: Words, check: int) -> int:
        rho = challenge(deal, 0, check)
        blocks = sum(pow(rho, b, P) * int(word) for b, word in enumerate(words[: numbers.blocks]))
        return (int(words[numbers.words + check]) + blocks) % P

    points = list(range(2, 8))
    escaped = np.array([[from_zero(words, check) for check in range(CHECKS)] for words in packets], np.uint32)
    assert off_places(points, escaped, numbers.threshold, 0) == set()
    found = np.array([check_values(numbers, deal, words)[:CHECKS] for words in packets], np.uint32)
    assert off_places(points, found, numbers.threshold, 0) is None


def test_a_dealer_that_knew_its_challenge_before_it_dealt_would_escape():
    """It spreads an error over five blocks, as the coefficients of X·Π(X − ρ_c), which cancel at the four ρ_c that it
    expects. The challenge is drawn from the deal, which binds the packets: it comes after them."""
    round_ = Round(7)
    dealer = round_.devices[0]
    numbers, expected = round_.session.parameters, [challenge(b"", 0, check) for check in range(CHECKS)]
    error = [1]
    for rho in expected:
        error = [(a - rho * b) % P for a, b in zip([0, *error], [*error, 0], strict=True)]

    def spoil(words: list[Words]) -> None:
        for part in words[1:3]:
            for block, value in enumerate(error):
                part[block] = (int(part[block]) + value) % P

    for rho in expected:
        assert sum(pow(rho, b, P) * value for b, value in enumerate(error, start=1)) % P == 0
    round_.deal_instead((dealer, spoilt_shares(round_, dealer, spoil)))
    round_.report()
    assert round_.chosen() == round_.identities[1:]
    packets, deal = open_packets(round_, dealer)[1:], round_.uploads[dealer.identity].contribution.deal
    given = np.array([check_values(numbers, deal, words)[:CHECKS] for words in packets], np.uint32)
    assert off_places(list(range(2, 8)), given, numbers.threshold, 0) is None


def test_a_check_value_alone_says_nothing_of_the_shares():
    """Whatever the shares, each value is as likely as any other: it moves with a word that is used for nothing else."""
    round_ = Round()
    numbers, deal = round_.session.parameters, round_.uploads[round_.devices[0].identity].contribution.deal
    words = open_packets(round_, round_.devices[0])[1]
    before = check_values(numbers, deal, words)
    for check in range(2 * CHECKS):
        moved = words.copy()
        prime = PRIMES[check // CHECKS]
        moved[numbers.words + check] = (int(moved[numbers.words + check]) + 5) % prime
        after = list(before)
        after[check] = (after[check] + 5) % prime
        assert list(check_values(numbers, deal, moved)) == after


def test_packets_of_unequal_length_are_refused_as_the_servers_fault():
    round_ = Round()
    dealer, device = round_.devices[0], round_.devices[1]
    plaintexts = [words.tobytes() for words in open_packets(round_, dealer)]
    plaintexts[1] = plaintexts[1][:-4]
    packets = seal_packets(round_.session, dealer, plaintexts)
    own = round_.prepare(device)
    proof = own.packets[0][4 * round_.session.parameters.packet_words + OVERHEAD :]
    shorter = Prepare(receipts=own.receipts, packets=[packets[1] + proof, *own.packets[1:]])
    with pytest.raises(ProtocolError, match="wrong size"):
        round_.member(device).report(shorter)


def test_a_packet_replayed_from_another_dealer_or_session_does_not_open():
    round_, there = Round(7), Round(7, round_=2)
    thief, owner = round_.devices[:2]
    size = 4 * round_.session.parameters.packet_words + OVERHEAD
    vector = round_.uploads[thief.identity].vector
    for source, from_ in ((round_, owner), (there, thief)):
        joined = source.uploads[from_.identity].contribution.packets
        packets = [joined[at : at + size] for at in range(0, len(joined), size)]
        again = Round(7)
        again.deal_instead((thief, bound(again.session, thief, vector, packets)))
        again.report()
        assert thief.identity not in again.chosen()
        assert len(again.chosen()) == 6


# What nobody can tell from the shares: the vector.


def masked_with_another_secret(round_: Round, dealer: Device) -> Upload:
    packets, randomness = open_packets(round_, dealer), dealer.randomness
    dealer.randomness = bytes(32)
    vector = round_.cohort.upload(round_.session, dealer).vector
    dealer.randomness = randomness
    return bound(
        round_.session, dealer, vector, seal_packets(round_.session, dealer, [part.tobytes() for part in packets])
    )


def random_vector(round_: Round, dealer: Device) -> Upload:
    rng = np.random.default_rng(1)
    own = round_.uploads[dealer.identity]
    vector = np.stack([rng.integers(0, p, own.vector[:, 0].shape) for p in PRIMES], axis=1).astype("<u4")
    packets = open_packets(round_, dealer)
    return bound(
        round_.session, dealer, vector, seal_packets(round_.session, dealer, [part.tobytes() for part in packets])
    )


def garbage_in_every_slot(round_: Round, dealer: Device) -> Upload:
    rng = np.random.default_rng(1)
    return poisoned(round_, dealer, [int(x) for x in rng.integers(0, 1 << 16, 3 * 4096)])


@pytest.mark.parametrize("attack", [masked_with_another_secret, random_vector, garbage_in_every_slot])
@pytest.mark.parametrize("size", [5, 7])
def test_a_vector_that_does_not_match_its_shares_or_garbage_under_the_mask_fails_by_name_and_publishes_nothing(
    attack: Attack, size: int
):
    round_ = Round(size)
    dealer = round_.devices[2]
    round_.deal_instead((dealer, attack(round_, dealer)))
    round_.run()
    assert len(decode_survivors(round_.aggregator.survivors or b"")) == size
    with pytest.raises(SumError):
        round_.publish()
    assert round_.aggregator.suspects() == (), "one such round identifies nobody"


def test_a_key_that_is_not_the_sums_is_noticed_before_anything_is_published():
    round_ = Round(3)
    round_.run()
    expect_sum_of(round_, round_.devices)
    (key,) = (opened.key for opened in round_.aggregator.open_key())
    for wrong in (np.zeros_like(key), np.where(np.arange(4096) == 7, (key + 1) % np.array(PRIMES)[:, None], key)):
        with pytest.raises(SumError, match="does not open"):
            round_.opened_with(wrong.astype(np.uint32))


def test_a_dealer_with_two_deals_is_in_the_sum_with_the_one_that_r_members_were_shown_or_not_at_all():
    round_ = Round(7)
    dealer = round_.devices[0]
    first = {device.identity: round_.prepare(device) for device in round_.devices}
    dealer.randomness = bytes(32)
    other = Round(7)
    other.deal_instead((dealer, other.cohort.upload(other.session, dealer)))
    shown = {d.identity: other.prepare(d) for d in round_.devices[4:]}
    survivors = round_.listing(round_.devices)
    votes = [d for d in round_.devices[:4] if round_.member(d).vote(first[d.identity], survivors)]
    for device in round_.devices[4:]:
        with pytest.raises(ForgedError, match="not shown"):
            round_.member(device).vote(shown[device.identity], survivors)
    certificate = certificate_of(round_.session, survivors, votes)
    with pytest.raises(ForgedError, match="not enough"):
        round_.member(round_.devices[1]).answer(first[round_.devices[1].identity], survivors, certificate)
