"""Reports change who seems fit to answer, even after U was chosen: that must not keep a sum closed."""

from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from hashlib import sha256
from math import prod

import numpy as np
import pytest
from attackers import (
    Round,
    Words,
    false_checks,
    sign_answer,
    sign_report,
    spoilt_shares,
    wrong_answer,
)
from cohorts import Device

from fedit_shared.parameters import CHECKS, PRIMES, CohortParameters
from fedit_shared.secagg.bodies import Finding, decode_report, encode_report
from fedit_shared.secagg.decoding import off_places

P = PRIMES[0]


def spoil(words: list[Words], member: int) -> None:
    """The packet to the ``member``-th of the roster (from 0) is off in one word."""
    words[member][0] = (int(words[member][0]) + 1) % P


def report(round_: Round, devices: Iterable[Device]) -> None:
    for device in devices:
        round_.aggregator.add_report(device.identity, *round_.member(device).report(round_.prepare(device)))


def answer(round_: Round, survivors: bytes, certificate: bytes, liars: Iterable[Device]) -> None:
    for liar in liars:
        said = wrong_answer(round_, liar, survivors, certificate, word=round_.devices.index(liar))
        round_.aggregator.add_answer(liar.identity, sha256(survivors).digest(), *said)


def dealt_a_wrong_share(late: int) -> tuple[Round, Device, Device, Device, bytes]:
    """Sixteen, of which the first dealt the fourth a wrong share; all but the last ``late`` reported when the list of
    survivors was chosen. The dealer, its victim, the last device, the list."""
    round_ = Round(16)
    dealer, victim, last = round_.devices[0], round_.devices[3], round_.devices[-1]
    round_.deal_instead((dealer, spoilt_shares(round_, dealer, partial(spoil, member=3))))
    report(round_, round_.devices[: 16 - late])
    return round_, dealer, victim, last, round_.choose()


def test_a_bad_dealer_and_a_late_liar_do_not_bring_back_an_answer_that_is_known_to_be_off():
    """With the liar's check values the dealer's cannot be decoded any more, and its victim seems fit. The two are wrong
    besides: three wrong answers of sixteen cannot be corrected, two of fifteen can."""
    round_, dealer, victim, late, survivors = dealt_a_wrong_share(late=2)
    lies = false_checks(round_, late, [dealer.identity])
    round_.aggregator.add_report(late.identity, *lies)
    certificate = round_.vote_all(survivors)
    answer(round_, survivors, certificate, [dealer, late])
    round_.answer_all(survivors, certificate, [d for d in round_.devices if d not in (dealer, late)])
    mean = round_.publish()
    assert mean.survivors == 16
    assert set(round_.aggregator.suspects()) == {dealer.identity, late.identity}
    assert victim.identity not in round_.aggregator.suspects()


def test_the_same_list_offered_again_does_not_change_which_reports_it_was_chosen_from():
    round_, dealer, _, late, survivors = dealt_a_wrong_share(late=2)
    round_.aggregator.add_report(late.identity, *false_checks(round_, late, [dealer.identity]))
    round_.aggregator.offer(survivors)
    certificate = round_.vote_all(survivors)
    answer(round_, survivors, certificate, [dealer, late])
    round_.answer_all(survivors, certificate, [d for d in round_.devices if d not in (dealer, late)])
    assert list(round_.aggregator.snapshot().open_key())


def test_late_reports_that_show_a_wrong_share_help_to_open():
    """Only eleven of sixteen reported at first, who tell nothing; with the others the victim is known, and the eleven
    other answers are enough."""
    round_, _, victim, _, survivors = dealt_a_wrong_share(late=5)
    report(round_, round_.devices[-5:])
    certificate = round_.vote_all(survivors)
    enough = [d for d in round_.devices if d is not victim][:11]
    round_.answer_all(survivors, certificate, [*enough, victim])
    mean = round_.publish()
    assert mean.survivors == 16


def framed(
    round_: Round, liar: Device, honest: list[Device], scapegoats: list[Device], refused: bytes = b""
) -> tuple[bytes, bytes]:
    """The liar's report: for each honest dealer its check values, moved onto a polynomial that meets the true one at
    r − 1 honest members. Enough such liars put the other honest ones off it. They need nobody else's values for it.
    The packet of the dealer ``refused`` it claims not to open."""
    places = {device.identity: k for k, device in enumerate(round_.devices, start=1)}
    threshold = round_.session.parameters.threshold

    def lie(finding: Finding) -> Finding:
        if finding.dealer == refused:
            return replace(finding, checks=None)
        others = [d for d in honest if d.identity != finding.dealer]
        if finding.checks is None or len(others) == len(honest):
            return finding
        spare = [d for d in scapegoats if d.identity != finding.dealer][: len(others) - threshold + 1]
        met = [places[d.identity] for d in others if d not in spare]
        assert len(met) == threshold - 1
        moved = prod(places[liar.identity] - k for k in met)
        primes = [PRIMES[0]] * CHECKS + [PRIMES[1]] * CHECKS
        return replace(finding, checks=tuple((v + moved) % p for v, p in zip(finding.checks, primes, strict=True)))

    findings = decode_report(round_.member(liar).report(round_.prepare(liar))[0])
    return sign_report(round_.session, liar, encode_report([lie(finding) for finding in findings]))


def test_honest_members_whom_liars_put_off_a_polynomial_are_asked_where_the_others_answers_are_too_few():
    """Three liars of sixteen, one more than can be decoded, frame three honest members, and then keep silent: ten
    answers are left of members that nothing is said of, one too few, and the thirteen honest ones agree."""
    round_ = Round(16)
    liars, honest = round_.devices[:3], round_.devices[3:]
    scapegoats = honest[:3]
    for liar in liars:
        said = framed(round_, liar, honest, scapegoats)
        round_.aggregator.add_report(liar.identity, *said)
    report(round_, honest)
    survivors = round_.choose()
    assert round_.chosen() == round_.identities
    certificate = round_.vote_all(survivors)
    round_.answer_all(survivors, certificate, honest)
    mean = round_.publish()
    assert mean.survivors == 16
    assert not round_.aggregator.suspects()


def test_a_key_that_many_answers_agree_on_goes_before_one_that_just_enough_give():
    """Two liars of ten frame two; without those, seven answers are left, one of them a lie. All nine show which."""
    round_ = Round(10)
    liars, honest = round_.devices[:2], round_.devices[2:]
    for liar in liars:
        round_.aggregator.add_report(liar.identity, *framed(round_, liar, honest, honest[:2]))
    report(round_, honest)
    survivors = round_.choose()
    certificate = round_.vote_all(survivors)
    answer(round_, survivors, certificate, liars[:1])
    round_.answer_all(survivors, certificate, honest)
    first, _ = round_.aggregator.open_key()
    round_.opened_with(first.key)
    mean = round_.publish()
    assert mean.survivors == 10
    assert round_.aggregator.suspects() == (liars[0].identity,)


def test_a_member_that_was_dealt_a_wrong_share_is_not_blamed_when_its_answer_is_corrected():
    round_ = Round(16)
    liars, honest = round_.devices[:3], round_.devices[3:]
    round_.deal_instead((liars[0], spoilt_shares(round_, liars[0], partial(spoil, member=15))))
    for liar in liars:
        round_.aggregator.add_report(liar.identity, *framed(round_, liar, honest, honest[:3]))
    report(round_, honest)
    survivors = round_.choose()
    certificate = round_.vote_all(survivors)
    round_.answer_all(survivors, certificate, honest)
    mean = round_.publish()
    assert mean.survivors == 16
    assert not round_.aggregator.suspects()


def test_who_claims_that_a_packet_does_not_open_is_asked_in_no_case():
    """As before; but the liars also claim edges to one another in turn, and answer falsely. One of them is left whose
    lie must be corrected, not three."""
    round_ = Round(16)
    liars, honest = round_.devices[:3], round_.devices[3:]
    for liar, other in zip(liars, [*liars[1:], liars[0]], strict=True):
        said = framed(round_, liar, honest, honest[:3], refused=other.identity)
        round_.aggregator.add_report(liar.identity, *said)
    report(round_, honest)
    survivors = round_.choose()
    assert len(round_.chosen()) == 15
    certificate = round_.vote_all(survivors)
    answer(round_, survivors, certificate, liars)
    round_.answer_all(survivors, certificate, honest)
    mean = round_.publish()
    assert mean.survivors == 15


def drawn_away(round_: Round, liar: Device, survivors: bytes, certificate: bytes, met: list[Device]) -> None:
    """The liar answers with its sum of shares, moved onto a polynomial that meets the true one at ``met``."""
    answer = round_.member(liar).answer(round_.prepare(liar), survivors, certificate)
    assert answer is not None
    places = {device.identity: k for k, device in enumerate(round_.devices, start=1)}
    words = np.frombuffer(answer[0], "<u4").copy()
    words[0] = (int(words[0]) + prod(places[liar.identity] - places[d.identity] for d in met)) % P
    said = sign_answer(round_.session, liar, survivors, words.tobytes())
    round_.aggregator.add_answer(liar.identity, sha256(survivors).digest(), *said)


def test_a_wrong_key_on_which_more_than_r_answers_agree_does_not_keep_the_sum_closed():
    """Three liars of sixteen frame three honest members. Without those, two of the liars' answers and all but one of
    the others' lie on another polynomial; of all sixteen, only the two are wrong."""
    round_ = Round(16)
    liars, honest = round_.devices[:3], round_.devices[3:]
    for liar in liars:
        round_.aggregator.add_report(liar.identity, *framed(round_, liar, honest, honest[:3]))
    report(round_, honest)
    survivors = round_.choose()
    assert round_.chosen() == round_.identities
    certificate = round_.vote_all(survivors)
    for liar in liars[:2]:
        drawn_away(round_, liar, survivors, certificate, met=honest[3:])
    round_.answer_all(survivors, certificate, [liars[2], *honest])
    assert len(list(round_.aggregator.open_key())) == 2
    mean = round_.publish()
    assert mean.survivors == 16
    assert set(round_.aggregator.suspects()) == {liar.identity for liar in liars[:2]}


def column(values: list[int]) -> Words:
    return np.array(values, np.uint32)[:, None]


@pytest.mark.parametrize("seed", range(20))
def test_decoding_never_finds_more_wrong_values_than_can_be_told(seed: int):
    """Whatever it is given: noise, or values that lie between two polynomials, as near to each as can be. The bound is
    not looked at for one column: it is the degree that the error locator can reach."""
    rng = np.random.default_rng(seed)
    for members in (4, 7, 10, 13, 20):
        degree = CohortParameters(members).threshold
        points = list(range(1, members + 1))
        line = [int(x) for x in rng.integers(0, P, degree)]
        true = [sum(c * pow(k, i, P) for i, c in enumerate(line)) % P for k in points]
        met = sorted(rng.choice(points, degree - 1, replace=False).tolist())
        other = [(y + prod(k - m for m in met)) % P for k, y in zip(points, true, strict=True)]
        for share in (0.0, 0.1, 0.3, 0.5, 1.0):
            mixed = [b if rng.random() < share else a for a, b in zip(true, other, strict=True)]
            noisy = [int(rng.integers(P)) if rng.random() < share else a for a in true]
            for values in (mixed, noisy, [0] * members):
                wrong = off_places(points, column(values), degree, 0)
                if wrong is None:
                    assert (
                        min(sum(a != b for a, b in zip(values, whole, strict=True)) for whole in (true, other))
                        > (members - degree) // 2
                    )
                    continue
                assert 2 * len(wrong) <= members - degree
                kept = [k for k in range(members) if k not in wrong]
                assert off_places([points[k] for k in kept], column([values[k] for k in kept]), degree, 0) == set()
