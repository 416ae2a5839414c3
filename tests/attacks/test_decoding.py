"""Who is off a polynomial is found up to the bound, and no lies make that slow or make the server keep more."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from attackers import Round, Words, false_checks
from hypothesis import given, settings
from hypothesis import strategies as st

from fedit_shared.parameters import CHECKS, PRIMES, CohortParameters
from fedit_shared.secagg import decoding, sharing
from fedit_shared.secagg.bodies import Finding
from fedit_shared.secagg.decoding import Residues, off_places
from fedit_shared.secagg.selection import edges_of
from fedit_shared.secagg.sharing import evaluate

Reports = dict[bytes, list[Finding]]


@settings(max_examples=100, deadline=None)
@given(data=st.data(), prime=st.integers(0, 1), size=st.integers(7, 24))
def test_who_is_off_in_any_column_is_found_up_to_the_bound_and_nobody_else(data: st.DataObject, prime: int, size: int):
    """Whoever lies in whichever of the four columns; beyond the bound, perhaps nobody, never more."""
    degree, count, p = CohortParameters(size).threshold, size - 1, PRIMES[prime]
    points, bound = tuple(range(2, count + 2)), (count - degree) // 2
    secret = np.random.default_rng(data.draw(st.integers(0, 2**32))).integers(0, p, (degree, 4)).astype(np.uint32)
    words = evaluate(tuple(-x for x in range(1, degree + 1)), secret, points, prime)
    lies = st.dictionaries(
        st.integers(0, count - 1),
        st.dictionaries(st.integers(0, 3), st.integers(1, 5) | st.integers(1, p - 1), min_size=1),
        max_size=bound + 2,
    )
    liars = data.draw(lies)
    for place, errors in liars.items():
        for column, error in errors.items():
            words[place, column] = (int(words[place, column]) + error) % p
    found = off_places(points, words, degree, prime)
    if len(liars) <= bound:
        assert found == set(liars)
    elif found is not None:
        assert len(found) <= bound
        assert on_polynomials(points, words, degree, prime, found)


def on_polynomials(points: tuple[int, ...], words: Words, degree: int, prime: int, but_for: set[int]) -> bool:
    """By interpolation."""
    kept = [place for place in range(len(points)) if place not in but_for]
    first, rest = kept[:degree], kept[degree:]
    through = evaluate(tuple(points[k] for k in first), words[first], tuple(points[k] for k in rest), prime)
    return np.array_equal(through, words[rest])


def test_values_of_one_over_x_are_off_every_polynomial():
    """Euclid's algorithm ends at once on them, with a rest that is no sum over wrong places."""
    points = tuple(range(1, 14))
    words = np.array([[pow(x, -1, PRIMES[1])] for x in points], np.uint32)
    assert off_places(points, words, 9, 1) is None


def test_errors_that_cancel_where_columns_are_decoded_together_are_found_one_by_one(monkeypatch: pytest.MonkeyPatch):
    """A liar that foresees the hash loses nothing but the server's time: five decodings in place of one."""
    degree, points = 9, tuple(range(1, 14))
    words = np.zeros((13, 4), np.uint32)
    words[2, :] = [1, PRIMES[0] - 1, 0, 0]
    words[5, :] = [0, 0, 1, PRIMES[0] - 1]
    decode = decoding._wrong_places
    decoded: list[set[int] | None] = []

    def watched(line: Residues, *given: Any) -> set[int] | None:
        decoded.append(decode(line, *given))
        return decoded[-1]

    def foreseen(syndromes: Residues, p: int) -> Iterator[Residues]:
        yield syndromes.sum(axis=1) % p
        yield from syndromes.T

    monkeypatch.setattr(decoding, "_wrong_places", watched)
    monkeypatch.setattr(decoding, "_lines", foreseen)
    assert off_places(points, words, degree, 0) == {2, 5}
    assert decoded == [set(), {2}, {2}, {5}]
    words[7, :2] = [2, PRIMES[0] - 2]
    assert off_places(points, words, degree, 0) is None, "three of thirteen, two in each column"


def lies_in_turn(size: int, dealers: int) -> Reports:
    """Check values of 0, and a third of the members that contradict each of so many dealers in turn, as many at a time
    as can be decoded; each in another of the four columns, and others mod p₀ than mod p₁."""
    numbers, rng = CohortParameters(size), np.random.default_rng(size)
    names = [bytes([k]) * 32 for k in range(size)]
    bound = (size - 1 - numbers.threshold) // 2
    reports: Reports = {name: [] for name in names}
    for dealer in names[:dealers]:
        liars = {names[k] for k in size - 1 - rng.choice(numbers.corrupt, bound, replace=False)} - {dealer}
        for k, name in enumerate(names):
            values = [0] * 2 * CHECKS
            if name in liars:
                values[k % CHECKS + CHECKS * (k // CHECKS % 2)] = int(rng.integers(1, 2**31 - 2**16))
            if name != dealer:
                reports[name].append(Finding(dealer, bytes(32), tuple(values)))
    return reports


@pytest.mark.parametrize("liars", [3, 9])
def test_lies_beyond_the_bound_cost_one_decoding(monkeypatch: pytest.MonkeyPatch, liars: int):
    decodings = counted(monkeypatch, "_wrong_places")
    rng, points = np.random.default_rng(liars), tuple(range(1, 14))
    words = np.zeros((13, 4), np.uint32)
    words[:liars] = rng.integers(1, PRIMES[0], (liars, 4))
    assert off_places(points, words, 9, 0) is None
    assert len(decodings) == 1


@pytest.mark.parametrize(("size", "dealers"), [(64, 64), (255, 255)])
def test_lies_in_turn_cost_a_server_two_decodings_a_dealer_and_few_steps_each(
    monkeypatch: pytest.MonkeyPatch, size: int, dealers: int
):
    numbers, reports = CohortParameters(size), lies_in_turn(size, dealers)
    names = sorted(reports)
    decodings, divisions = counted(monkeypatch, "_wrong_places"), counted(monkeypatch, "_division")
    edges, broken = edges_of(numbers, {name: k for k, name in enumerate(names, 1)}, names[:dealers], reports)
    bound = (size - 1 - numbers.threshold) // 2
    assert not broken
    assert len(edges) >= dealers * (bound - 1)
    assert len(decodings) == 2 * dealers
    assert len(divisions) <= dealers * bound


def counted(monkeypatch: pytest.MonkeyPatch, name: str) -> list[None]:
    """An entry for each call of the decoder's function from here on."""
    calls: list[None] = []
    function = getattr(decoding, name)

    def watched(*given: Any) -> object:
        calls.append(None)
        return function(*given)

    monkeypatch.setattr(decoding, name, watched)
    return calls


def test_reports_are_decoded_once_for_each_set_of_reporters(monkeypatch: pytest.MonkeyPatch):
    """However often U is looked for, or the key, and whoever works on a snapshot."""
    round_ = Round(13)
    liar = round_.devices[0]
    round_.aggregator.add_report(liar.identity, *false_checks(round_, liar, round_.identities))
    round_.report(round_.devices[1:12])
    decodings = counted(monkeypatch, "_wrong_places")
    survivors = round_.choose()
    first = len(decodings)
    assert first == 12
    round_.aggregator.snapshot().choose_survivors()
    certificate = round_.vote_all(survivors)
    round_.answer_all(survivors, certificate)
    assert list(round_.aggregator.snapshot().open_key())
    assert len(decodings) == first
    round_.report(round_.devices[12:])
    for _ in range(3):
        assert list(round_.aggregator.snapshot().open_key())
    assert len(decodings) == 2 * first


def test_nothing_grows_with_the_patterns_of_presence_that_a_server_has_seen():
    """What is kept of one interpolation is kept for a bounded number of them."""
    bounds = [value.cache_info().maxsize for value in vars(sharing).values() if hasattr(value, "cache_info")]
    assert bounds == [64]
