"""The decoded sum is the integer sum over the survivors, whoever survives and whoever answers."""

from collections.abc import Iterator
from hashlib import sha256
from itertools import combinations
from typing import TypeVar

import numpy as np
import pytest
from cohorts import Cohort, Device, Upload, deal_all, prepare_for
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, LAYOUTS, CohortParameters
from fedit_shared.quantize import read_mean
from fedit_shared.secagg import Aggregator, Session, VectorSum
from fedit_shared.secagg.bodies import Survivor, encode_survivors, receipt_hash
from fedit_shared.secagg.prg import Stream, secret_key

T = TypeVar("T")


def plain_slots(cohort: Cohort, session: Session) -> dict[bytes, list[int]]:
    """Each device's slots by the formula of the design, in plain Python; no code of the quantizer is used."""
    per = LAYOUTS[session.settings.slot_bits]
    result = {}
    levels = ((1 << session.settings.slot_bits) - 1) // (2 * len(cohort.devices) * session.settings.max_weight)
    sizes = session.quantizer.sizes
    clips = [c for size, c in zip(sizes, session.settings.clip, strict=True) for _ in range(size)]
    for device in cohort.devices:
        stream = Stream(secret_key(device.randomness, session.sid, "rounding"))
        words = np.empty((session.rows, DEGREE * per), np.uint32)
        for row in range(session.rows):
            stream.words(words[row], row)
        noise = words.reshape(-1)
        weight = min(session.settings.max_weight, -(-device.update.examples // 32))
        limit = weight * levels
        values = device.update.delta.astype(float)
        outside = sum(abs(x) > c for x, c in zip(values, clips, strict=True)) / len(values)
        slots = []
        for k, (x, c) in enumerate(zip(values, ranges(device, session), strict=True)):
            scaled = min(max(x * (limit / c), -limit), limit)
            slots.append(min(int(np.floor(scaled + int(noise[k]) * 2.0**-32)), limit) + limit)
        extras = (weight, 2 * limit * min(device.update.loss, 16.0) / 16.0, 2 * limit * outside)
        slots += [int(np.floor(v + int(noise[len(values) + i]) * 2.0**-32)) for i, v in enumerate(extras)]
        result[device.identity] = slots
    return result


def ranges(device: Device, session: Session) -> NDArray[np.float64]:
    """What each value is divided by: its tensor's clip range, or its largest value but for one in a hundred."""
    found, start = [], 0
    for size, c in zip(session.quantizer.sizes, session.settings.clip, strict=True):
        sizes = sorted(abs(float(x)) for x in device.update.delta[start : start + size])
        found += [max(c, sizes[size - 1 - size // 100])] * size
        start += size
    return np.array(found)


def survivors_list(session: Session, uploads: dict[bytes, Upload], chosen: list[bytes]) -> bytes:
    return encode_survivors(
        [
            Survivor(i, receipt_hash(uploads[i].contribution.deal, uploads[i].contribution.signature))
            for i in sorted(chosen)
        ]
    )


@pytest.mark.parametrize(("size", "dimension"), [(3, 20_000), (4, 500), (5, 20_000), (6, 500)])
def test_the_sum_is_exact_for_every_set_of_survivors_and_of_answers(size: int, dimension: int):
    cohort = Cohort(size, dimension=dimension)
    session = cohort.session()
    uploads = cohort.uploads(session)
    plain = plain_slots(cohort, session)
    listed = list(subsets([device.identity for device in cohort.devices], session.floor))
    answering = list(subsets(cohort.devices, session.parameters.threshold))
    for chosen in listed:
        total = VectorSum(session)
        for identity in chosen:
            total.add(uploads[identity].vector)
        expected = np.sum([plain[identity] for identity in chosen], axis=0)
        voted, words = certified(cohort, session, uploads, survivors_list(session, uploads, list(chosen)))
        for members in answering:
            aggregator = voted.snapshot()
            for device in members:
                aggregator.add_answer(device.identity, *words[device.identity])
            (opened,) = aggregator.open_key()
            assert np.array_equal(total.slots(opened.key, len(chosen)), expected)
    assert (len(listed), len(answering)) == {3: (1, 1), 4: (5, 5), 5: (16, 6), 6: (22, 7)}[size]


def subsets(items: list[T], least: int) -> Iterator[tuple[T, ...]]:
    """All of ``least`` items or more."""
    return (some for count in range(least, len(items) + 1) for some in combinations(items, count))


def certified(
    cohort: Cohort, session: Session, uploads: dict[bytes, Upload], survivors: bytes
) -> tuple[Aggregator, dict[bytes, tuple[bytes, bytes, bytes]]]:
    """The list, offered and voted for by all; and what each device answers."""
    aggregator = Aggregator(session)
    deal_all(aggregator, uploads)
    aggregator.offer(survivors)
    digest = sha256(survivors).digest()
    prepares = {d.identity: prepare_for(aggregator, uploads, d.identity) for d in cohort.devices}
    for device in cohort.devices:
        vote = cohort.member(session, device).vote(prepares[device.identity], survivors)
        aggregator.add_vote(device.identity, digest, vote)
    certificate = aggregator.certificate()
    assert certificate is not None
    answers = {}
    for device in cohort.devices:
        answer = cohort.member(session, device).answer(prepares[device.identity], survivors, certificate)
        assert answer is not None
        answers[device.identity] = (digest, *answer)
    return aggregator, answers


@settings(max_examples=12, deadline=None)
@given(
    size=st.integers(3, 24),
    seed=st.integers(0, 2**32),
    layout=st.sampled_from([(12, 4), (16, 16), (24, 16)]),
    data=st.data(),
)
def test_a_whole_round_gives_the_weighted_mean_whoever_vanishes(size, seed, layout, data):
    bits, weight = layout
    cohort = Cohort(size, seed, dimension=500, slot_bits=bits, max_weight=weight)
    session = cohort.session()
    parameters = session.parameters
    uploads = cohort.uploads(session)
    identities = [device.identity for device in cohort.devices]
    dealt = data.draw(st.sets(st.sampled_from(identities), min_size=session.floor), label="dealt")
    present = data.draw(st.sets(st.sampled_from(identities), min_size=parameters.threshold), label="present")
    aggregator = Aggregator(session)
    deal_all(aggregator, {i: u for i, u in uploads.items() if i in dealt})
    here = [device for device in cohort.devices if device.identity in present]
    prepares = {d.identity: prepare_for(aggregator, uploads, d.identity) for d in here}
    for device in here:
        report = cohort.member(session, device).report(prepares[device.identity])
        aggregator.add_report(device.identity, *report)
    u = aggregator.choose_survivors()
    assert u == survivors_list(session, uploads, list(dealt))
    aggregator.offer(u)
    for device in here:
        vote = cohort.member(session, device).vote(prepares[device.identity], u)
        aggregator.add_vote(device.identity, sha256(u).digest(), vote)
    certificate = aggregator.certificate()
    assert certificate is not None
    for device in here:
        answer = cohort.member(session, device).answer(prepares[device.identity], u, certificate)
        assert answer is not None
        aggregator.add_answer(device.identity, sha256(u).digest(), *answer)
    (key,) = (opened.key for opened in aggregator.open_key())
    total = VectorSum(session)
    for identity in dealt:
        total.add(uploads[identity].vector)
    slots = total.slots(key, len(dealt))
    plain = plain_slots(cohort, session)
    assert np.array_equal(slots, np.sum([plain[i] for i in dealt], axis=0))
    mean = read_mean(session.quantizer, slots, len(dealt))
    weights = {d.identity: min(weight, -(-d.update.examples // 32)) for d in cohort.devices}
    clip = np.repeat(session.settings.clip, session.quantizer.sizes)
    exact = sum(
        weights[d.identity] * np.clip(d.update.delta * (clip / ranges(d, session)), -clip, clip)
        for d in cohort.devices
        if d.identity in dealt
    ) / sum(weights[i] for i in dealt)
    step = clip / session.quantizer.levels
    assert np.all(np.abs(mean.delta - exact) <= step * len(dealt) / sum(weights[i] for i in dealt) * 1.001)
    assert mean.total_weight == sum(weights[i] for i in dealt)


def test_a_packet_of_a_cohort_of_64_has_the_size_that_the_design_computes():
    parameters = CohortParameters(64)
    assert (parameters.threshold, parameters.corrupt, parameters.packing) == (43, 21, 22)
    assert (parameters.words, parameters.packet_words) == (374, 382)


def test_no_reports_or_too_few_choose_nobody_and_break_nothing():
    cohort = Cohort(5)
    session = cohort.session()
    uploads = cohort.uploads(session)
    aggregator = Aggregator(session)
    deal_all(aggregator, uploads)
    assert aggregator.choose_survivors() is None
    for device in cohort.devices[: session.parameters.threshold - 1]:
        prepare = prepare_for(aggregator, uploads, device.identity)
        aggregator.add_report(device.identity, *cohort.member(session, device).report(prepare))
        assert aggregator.choose_survivors() is None
