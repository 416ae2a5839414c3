"""What a contributor can do to the sum with valid shares: the slots under its mask are its own choice."""

from hashlib import sha256

import numpy as np
import pytest
from attackers import Round, poisoned, sign_report
from cohorts import Cohort, Device

from fedit_shared.errors import ProtocolError, SumError, UserError
from fedit_shared.parameters import DEGREE, LAYOUTS, PRIMES, levels
from fedit_shared.quantize import Mean, read_mean
from fedit_shared.secagg import Update, VectorSum, check_vector
from fedit_shared.secagg.masking import masked_rows
from fedit_shared.secagg.prg import key_from

DIMENSION, CLIP = 100, 0.01


def still(round_: Round, weight: int) -> None:
    """Everybody has an update of zeros and the same weight."""
    for device in round_.devices:
        device.update = Update(np.zeros(DIMENSION, np.float32), 32 * weight, 0.0)
    round_.uploads = round_.cohort.uploads(round_.session)


def published(round_: Round, dealer: Device, slots: list[int]) -> Mean:
    round_.deal_instead((dealer, poisoned(round_, dealer, slots)))
    round_.run()
    return round_.publish()


def slots_of(round_: Round, value: int, *, weight: int, loss: int = 0, clipped: int = 0) -> list[int]:
    """The same slot for every parameter, then the weight, the loss, the fraction clipped."""
    return [*[value] * DIMENSION, weight, loss, clipped]


@pytest.mark.parametrize("bits", LAYOUTS)
def test_sums_of_the_largest_values_and_weights_of_all_members_do_not_overflow_into_their_neighbours(bits):
    round_ = Round(5, slot_bits=bits)
    deltas = np.where(np.arange(DIMENSION) % 2, -1.0, 1.0).astype(np.float32)
    for device in round_.devices:
        device.update = Update(deltas, 10**6, 99.0)
    round_.uploads = round_.cohort.uploads(round_.session)
    round_.deals_of(round_.devices)
    round_.run()
    slots = round_.slots()
    top = 2 * round_.session.quantizer.levels * 16 * 5
    assert top < 1 << bits
    assert np.array_equal(slots, [*[top, 0] * (DIMENSION // 2), 16 * 5, top, top])
    mean = round_.publish()
    assert (mean.loss, mean.clipped) == (16.0, 1.0)


@pytest.mark.parametrize(("bits", "heaviest"), [(12, 8), (16, 128), (24, 4096)])
def test_the_largest_cohort_of_the_largest_values_and_weights_is_summed_exactly(bits, heaviest):
    """255 members, the largest weight that leaves whole levels: with one more the slots would overflow."""
    cohort = Cohort(255, dimension=DIMENSION, slot_bits=bits, max_weight=heaviest)
    session = cohort.session()
    top = 2 * session.quantizer.levels * heaviest * 255
    assert (1 << bits) - 2 * 255 * heaviest <= top < 1 << bits
    delta = np.where(np.arange(DIMENSION) % 2, -1.0, 1.0).astype(np.float32)
    total, key = VectorSum(session), np.zeros((2, DEGREE), np.uint64)
    for device in cohort.devices:
        quantized = session.quantizer.prepare(delta, 32 * heaviest, 99.0)
        secret = key_from(device.randomness, session.sid)
        masked = masked_rows(quantized, secret, session.rows, device.randomness, session.sid)
        total.add(np.concatenate([rows.copy() for rows in masked]))
        key += secret
    slots = total.slots((key % np.array(PRIMES, np.uint64)[:, None]).astype(np.uint32), 255)
    assert np.array_equal(slots, [*[top, 0] * (DIMENSION // 2), heaviest * 255, top, top])
    mean = read_mean(session.quantizer, slots, 255)
    ranges = np.repeat(session.settings.clip, session.quantizer.sizes)
    np.testing.assert_allclose(mean.delta, delta * ranges, rtol=1e-6)


@pytest.mark.parametrize("bits", LAYOUTS)
def test_levels_leave_room_for_every_cohort_and_weight_or_are_refused(bits):
    for members in (3, 64, 255):
        for weight in (1, 16, 4096):
            try:
                count = levels(members, bits, weight)
            except ProtocolError:
                assert 2 * members * weight > (1 << bits) - 1
            else:
                assert 2 * members * weight * count <= (1 << bits) - 1


@pytest.mark.parametrize(("bits", "weight"), [(8, 1), (20, 1), (16, 0), (16, -1)])
def test_a_layout_or_weight_that_does_not_exist_is_refused(bits, weight):
    with pytest.raises(ProtocolError, match="not a layout"):
        levels(5, bits, weight)
    assert levels(5, 16, 1) == 6553


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_honest_client_masks_nothing_that_is_not_finite_or_does_not_fit(bad):
    round_ = Round(3)
    device = round_.devices[0]
    delta = device.update.delta.copy()
    delta[7] = bad
    good = device.update.delta
    for update in (
        Update(delta, 1, 0.0),
        Update(good, 1, float(bad)),
        Update(good, 0, 0.0),
        Update(good[:-1], 1, 0.0),
        Update(good.astype(np.float64), 1, 0.0),
    ):
        device.update = update
        with pytest.raises(UserError):
            round_.cohort.upload(round_.session, device)


@pytest.mark.parametrize(
    ("value", "weight", "loss", "clipped"),
    [
        (0, 0, 0, 0),
        (1 << 15, 4, 0, 0),
        (-(4 * 409) - 1 - 4 * 4 * 409, 4, 0, 0),
        (4 * 409, 17 * 5, 0, 0),
        (4 * 409, -4 * 4 - 1, 0, 0),
        (4 * 409, 4, 1 << 15, 0),
        (4 * 409, 4, 0, 1 << 15),
    ],
    ids=[
        "weight of nobody",
        "values too high",
        "values below zero",
        "weight too high",
        "weight below zero",
        "loss too high",
        "clipped too high",
    ],
)
def test_slots_or_weights_out_of_range_are_not_published(value, weight, loss, clipped):
    round_ = Round()
    still(round_, 4)
    assert round_.session.quantizer.levels == 409
    dealer = round_.devices[0]
    if (value, weight) == (0, 0):
        still(round_, 1)
        weight = 0
    with pytest.raises(SumError):
        published(round_, dealer, slots_of(round_, value, weight=weight, loss=loss, clipped=clipped))


def test_values_in_the_padding_are_not_published():
    round_ = Round()
    dealer = round_.devices[0]
    with pytest.raises(SumError, match="padding"):
        published(round_, dealer, [*slots_of(round_, 409, weight=1), 1])


def test_a_contributor_that_runs_the_real_code_moves_the_mean_by_at_most_its_weights_share_of_the_clip_range():
    round_ = Round()
    still(round_, 4)
    dealer = round_.devices[0]
    dealer.update = Update(np.full(DIMENSION, 1e9, np.float32), 10**6, 0.0)
    round_.deal_instead((dealer, round_.cohort.upload(round_.session, dealer)))
    round_.run()
    mean = round_.publish()
    share = 16 / (16 + 4 * 4)
    limits = np.repeat([CLIP, 2 * CLIP], round_.session.quantizer.sizes)
    assert np.allclose(mean.delta, share * limits, atol=2 * CLIP / 409)
    assert mean.clipped == pytest.approx(share, abs=1e-3)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_contributor_that_writes_its_own_slots_moves_the_mean_anywhere_within_the_clip_range_whatever_its_weight(
    sign,
):
    """Nothing bounds one contributor's share: what is checked is the sum. It cannot get past the clip range."""
    round_ = Round()
    still(round_, 16)
    dealer, count = round_.devices[0], round_.session.quantizer.levels
    weight = 1
    total = 4 * 16 + weight
    most = count * weight + sign * count * total  # the others' sums stand in the middle: 4·16·L
    mean = published(round_, dealer, slots_of(round_, most, weight=weight))
    limits = np.repeat([CLIP, 2 * CLIP], round_.session.quantizer.sizes)
    assert mean.total_weight == total
    assert np.allclose(mean.delta, sign * limits, rtol=1e-5)
    assert np.all(np.abs(mean.delta) <= limits * (1 + 1e-6))
    again = Round()
    still(again, 16)
    with pytest.raises(SumError):
        published(again, again.devices[0], slots_of(again, most + sign, weight=weight))


def test_a_contributor_can_take_the_others_weight_away_but_not_below_one_each():
    round_ = Round()
    still(round_, 16)
    for total, fits in ((5, True), (4, False)):
        again = Round()
        still(again, 16)
        count = again.session.quantizer.levels
        lower = slots_of(again, count * total - 4 * 16 * count, weight=total - 4 * 16)
        if fits:
            mean = published(again, again.devices[0], lower)
            assert mean.total_weight == 5
            assert np.allclose(mean.delta, 0)
        else:
            with pytest.raises(SumError, match="weights"):
                published(again, again.devices[0], lower)


# Bytes on the way, or on the server's disk.


def test_an_upload_with_a_word_that_is_no_residue_or_of_another_size_is_refused():
    round_ = Round(3)
    vector = round_.uploads[round_.devices[0].identity].vector
    for half, prime in enumerate(PRIMES):
        wrong = vector.copy()
        wrong[-1, half, -1] = prime
        with pytest.raises(ProtocolError, match="residue"):
            check_vector(round_.session, wrong)
        total = VectorSum(round_.session)
        with pytest.raises(ProtocolError, match="residue"):
            total.add(wrong)
    for wrong in (vector[:, :1], np.concatenate([vector, vector]), vector.astype(np.int32), vector.reshape(-1)):
        with pytest.raises(ProtocolError, match="size"):
            check_vector(round_.session, wrong)


def test_an_answer_with_a_word_that_is_no_residue_or_of_another_size_is_refused():
    round_ = Round()
    survivors, certificate = round_.certify()
    device, half = round_.devices[0], 2 * round_.session.parameters.words
    answer = round_.member(device).answer(round_.prepare(device), survivors, certificate)
    assert answer is not None
    words, signature = answer
    first, second = (prime.to_bytes(4, "little") for prime in PRIMES)
    for wrong in (first + words[4:], words[:half] + second + words[half + 4 :], words[:-4], words + bytes(4), b""):
        with pytest.raises(ProtocolError, match="residue"):
            round_.aggregator.add_answer(device.identity, sha256(survivors).digest(), wrong, signature)
    round_.aggregator.add_answer(device.identity, sha256(survivors).digest(), words, signature)


def test_a_report_with_a_check_value_that_is_no_residue_is_refused():
    round_ = Round()
    device = round_.devices[0]
    report, _ = round_.member(device).report(round_.prepare(device))
    for at, prime in ((65, PRIMES[0]), (65 + 16, PRIMES[1])):
        wrong = report[:at] + prime.to_bytes(4, "little") + report[at + 4 :]
        with pytest.raises(ProtocolError, match="residue"):
            round_.aggregator.add_report(device.identity, *sign_report(round_.session, device, wrong))


def test_other_bytes_than_were_dealt_give_no_sum():
    """The server holds an upload against its receipt when it comes: see test_uploads. Should a sector of its disk go
    bad later, the sum does not open."""
    round_ = Round()
    dealer = round_.devices[0]
    round_.run()
    upload = round_.uploads[dealer.identity]
    assert sha256(upload.vector.tobytes()).digest() == upload.contribution.deal[64:96]
    upload.vector = upload.vector.copy()
    upload.vector[0, 0, 128:256] = 0
    with pytest.raises(SumError, match="does not open"):
        round_.publish()
