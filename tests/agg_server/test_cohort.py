"""Drawing a fraction of the devices, and forming cohorts."""

import math
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from agg_server.cohort import Draw, form

SEED, OTHER = b"seed", b"other seed"


def identities(count: int) -> list[bytes]:
    return [i.to_bytes(32, "big") for i in range(count)]


def plain(count: int, floor: int = 3) -> dict[bytes, int]:
    return dict.fromkeys(identities(count), floor)


@given(count=st.integers(0, 400), smallest=st.integers(3, 20), more=st.integers(0, 60))
def test_cohorts_are_disjoint_within_their_bounds_and_as_few_as_possible(count: int, smallest: int, more: int):
    largest = smallest + more
    plan = form(plain(count), partition=SEED, smallest=smallest, largest=largest)
    members = [identity for cohort in plan.cohorts for identity in cohort]
    assert len(members) == len(set(members))
    assert set(members) | set(plan.left_out) == (set(identities(count)) if count >= smallest else set())
    assert all(smallest <= len(cohort) <= largest for cohort in plan.cohorts)
    assert all(list(cohort) == sorted(cohort) for cohort in plan.cohorts)
    if plan.cohorts:
        assert len(plan.cohorts) in (-(-count // largest), -(-count // largest) - 1)
        sizes = [len(cohort) for cohort in plan.cohorts]
        assert max(sizes) - min(sizes) <= 1


def test_one_cohort_whenever_all_fit():
    assert len(form(plain(64), partition=SEED, smallest=3, largest=64).cohorts) == 1


def test_the_same_partition_gives_nearly_the_same_cohorts_when_a_few_come_and_go():
    first = form(plain(120), partition=SEED, smallest=3, largest=64).cohorts
    fewer = dict.fromkeys(identities(121)[1:], 3)
    second = form(fewer, partition=SEED, smallest=3, largest=64).cohorts
    moved = sum(min(len(set(cohort) - set(other)) for other in first) for cohort in second)
    assert moved <= 4
    assert form(plain(120), partition=OTHER, smallest=3, largest=64).cohorts != first


def test_who_demands_more_survivors_than_its_cohort_has_members_is_left_out_with_the_reason():
    floors = plain(10) | {identities(10)[4]: 11}
    plan = form(floors, partition=SEED, smallest=3, largest=64)
    assert [len(cohort) for cohort in plan.cohorts] == [9]
    assert "demands 11" in plan.left_out[identities(10)[4]]


def test_floors_that_leave_too_few_form_no_cohort():
    assert form(plain(5, floor=6), partition=SEED, smallest=3, largest=64).cohorts == ()


def test_the_most_demanding_goes_first_so_that_others_can_stay():
    floors = plain(5, floor=5) | {identities(6)[5]: 7}
    plan = form(floors, partition=SEED, smallest=3, largest=64)
    assert [len(cohort) for cohort in plan.cohorts] == [5]


@given(count=st.integers(1, 300), fraction=st.floats(0.01, 1.0))
def test_a_draw_takes_its_fraction_and_never_fewer_than_a_cohort_needs(count: int, fraction: float):
    draw = Draw(SEED, fraction, 3, identities(count))
    drawn = sum(draw.includes(identity) for identity in identities(count))
    assert drawn == min(count, max(3, math.ceil(fraction * count)))


def test_each_round_draws_others():
    chosen = [
        {identity for identity in identities(200) if Draw(seed, 0.1, 3, identities(200)).includes(identity)}
        for seed in (SEED, OTHER)
    ]
    assert chosen[0] != chosen[1]


def test_a_round_that_waits_draws_more_and_keeps_those_it_has():
    draw = Draw(SEED, 0.1, 3, identities(100))
    shares = [{identity for identity in identities(100) if draw.includes(identity, widening)} for widening in range(5)]
    assert [len(share) for share in shares] == [10, 20, 40, 80, 100]
    assert all(a <= b for a, b in pairwise(shares))


def test_a_device_that_joins_during_a_round_can_be_drawn():
    draw = Draw(SEED, 1.0, 3)
    draw.add(identities(1)[0])
    assert draw.includes(identities(1)[0])
