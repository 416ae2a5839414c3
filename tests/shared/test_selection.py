"""Which survivors are chosen from the reports: as many as can be, of those that r members can answer for."""

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedit_shared.parameters import CohortParameters
from fedit_shared.secagg import selection
from fedit_shared.secagg.selection import Edges, select


def named(*pairs: tuple[int, int]) -> Edges:
    return {(bytes([member]), bytes([dealer])) for member, dealer in pairs}


def by_trying_all(size: int, members: list[int], edges: Edges) -> int:
    """The most survivors, by trying every set of r members; 0 where there are too few."""
    numbers = CohortParameters(size)
    fewest = min(
        (len({d for m, d in edges if m[0] in chosen}) for chosen in combinations(members, numbers.threshold)),
        default=size,
    )
    return size - fewest if size - fewest >= numbers.floor else 0


def chosen(size: int, members: list[int], edges: Edges) -> list[bytes]:
    numbers, names = CohortParameters(size), [bytes([k]) for k in range(size)]
    found = select([names[m] for m in members], names, edges, threshold=numbers.threshold, floor=numbers.floor)
    return found or []


def able(members: list[int], edges: Edges, survivors: list[bytes]) -> int:
    return sum(1 for m in members if not any((bytes([m]), d) in edges for d in survivors))


@settings(max_examples=300, deadline=None)
@given(data=st.data(), size=st.integers(3, 9))
def test_no_more_survivors_could_have_been_chosen(data: st.DataObject, size: int):
    members = sorted(data.draw(st.sets(st.integers(0, size - 1))))
    pairs = [(m, d) for m in members for d in range(size) if m != d]
    edges = named(*data.draw(st.sets(st.sampled_from(pairs)))) if pairs else set()
    survivors = chosen(size, members, edges)
    assert len(survivors) == by_trying_all(size, members, edges)
    if survivors:
        assert survivors == sorted(survivors)
        assert able(members, edges, survivors) >= CohortParameters(size).threshold


def test_a_cohort_that_can_be_summed_is_not_given_up():
    """To take away whoever has most edges, one after the other, ends below the floor here."""
    edges = named((0, 1), (0, 2), (1, 0), (1, 2), (2, 1))
    assert len(chosen(5, [0, 1, 2, 3, 4], edges)) == 3


def test_members_that_share_their_edges_go_before_one_that_has_fewer():
    """The first list that is found, by taking whoever adds the fewest edges, leaves out one dealer too many here."""
    edges = named((0, 2), *((member, dealer) for member in (2, 3, 4, 5, 6) for dealer in (0, 1)))
    members = [0, 2, 3, 4, 5, 6]
    assert chosen(7, members, edges) == [bytes([k]) for k in (2, 3, 4, 5, 6)]
    assert by_trying_all(7, members, edges) == 5


@pytest.mark.parametrize("size", [64, 255])
def test_the_largest_cohorts_get_a_list_that_can_be_answered_for_however_tangled_the_reports(size: int):
    """A third lies about everybody at random, a third deals garbage to some: too many ways to try them all."""
    rng, numbers = np.random.default_rng(size), CohortParameters(size)
    spare = size - numbers.threshold
    edges = named(
        *((m, d) for m in range(spare) for d in range(size) if m != d and rng.random() < 0.3),
        *((m, d) for d in range(size - spare, size) for m in range(size) if m != d and rng.random() < 0.1),
    )
    members = list(range(size))
    survivors = chosen(size, members, edges)
    assert len(survivors) >= size - spare
    assert able(members, edges, survivors) >= numbers.threshold


def test_a_search_that_is_cut_short_still_gives_a_list_that_can_be_answered_for(monkeypatch: pytest.MonkeyPatch):
    rng, numbers = np.random.default_rng(7), CohortParameters(48)
    members = list(range(48))
    edges = named(*((m, d) for m in members for d in members if m != d and rng.random() < 0.01))
    whole = chosen(48, members, edges)
    monkeypatch.setattr(selection, "SEARCH", numbers.threshold + 1)
    short = chosen(48, members, edges)
    assert numbers.floor <= len(short) <= len(whole)
    assert able(members, edges, short) >= numbers.threshold


def test_a_search_takes_no_more_steps_than_it_may(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(selection, "SEARCH", 0)
    assert not chosen(3, [0, 1, 2], set())
    monkeypatch.setattr(selection, "SEARCH", 1)
    assert len(chosen(3, [0, 1, 2], set())) == 3
