"""Simulated clients get records as the partition says: each record once, and as unlike as wanted."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fedit.partition import Partition, deal, dirichlet, held_out, heterogeneity, shards
from fedit_shared.errors import UserError

CATEGORIES = [f"category {place % 8}" for place in range(1600)]
FILES = [place % 5 for place in range(1600)]


def dealt(partition: Partition, clients: int, seed: int = 1) -> list[list[int]]:
    return deal(partition, CATEGORIES, FILES, clients, np.random.default_rng(seed))


@given(
    kind=st.sampled_from(["shards", "dirichlet", "iid"]),
    clients=st.integers(1, 40),
    alpha=st.floats(0.3, 10),
    seed=st.integers(0, 2**32),
)
def test_every_record_is_given_to_exactly_one_client_and_the_seed_decides(
    kind: str, clients: int, alpha: float, seed: int
) -> None:
    partition = Partition(kind=kind, alpha=alpha, minimum=1)  # type: ignore[arg-type]
    places = dealt(partition, clients, seed)
    assert sorted(place for own in places for place in own) == list(range(1600))
    assert places == dealt(partition, clients, seed)


@given(
    sizes=st.lists(st.integers(20, 60), min_size=4, max_size=9),
    clients=st.integers(1, 8),
    alpha=st.sampled_from([0.3, 1.0, 100.0]),
    seed=st.integers(0, 2**32),
)
@settings(deadline=None)
def test_under_dirichlet_everybody_has_the_minimum_and_who_had_enough_got_no_more(
    sizes: list[int], clients: int, alpha: float, seed: int
) -> None:
    categories = [f"{number:02}" for number, size in enumerate(sizes) for _ in range(size)]
    minimum = len(categories) // (4 * clients)
    places = dirichlet(categories, clients, alpha, minimum, np.random.default_rng(seed))
    assert sorted(place for own in places for place in own) == list(range(len(categories)))
    assert min(map(len, places)) >= minimum
    for own in places:  # what it had before the last category that it got any of
        last = max(categories[place] for place in own)
        assert sum(categories[place] < last for place in own) < len(categories) / clients


@given(
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=9),
    clients=st.integers(1, 12),
    each=st.integers(1, 4),
    seed=st.integers(0, 2**32),
)
def test_a_shard_is_a_run_of_the_records_sorted_by_category_and_shards_differ_by_one_record_at_most(
    sizes: list[int], clients: int, each: int, seed: int
) -> None:
    categories = [f"{number:02}" for number, size in enumerate(sizes) for _ in range(size)][::-1]
    places = shards(categories, clients, each, np.random.default_rng(seed))
    order = sorted(range(len(categories)), key=lambda place: (categories[place], place))
    rank = {place: number for number, place in enumerate(order)}
    parts = sorted(np.array_split(np.arange(len(categories)), clients * each), key=lambda part: -len(part))
    allowed = {tuple(part.tolist()) for part in parts}
    for own in places:
        ranks, cut = [rank[place] for place in own], 0
        for _ in range(each):
            size = next(len(a) for a in sorted(allowed, key=len, reverse=True) if tuple(ranks[cut : cut + len(a)]) == a)
            cut += size
        assert cut == len(ranks)


def test_clients_of_two_shards_see_few_categories_and_have_equally_many_records() -> None:
    places = dealt(Partition(kind="shards", shards=2), 10)
    assert {len(own) for own in places} == {160}
    assert max(len({CATEGORIES[place] for place in own}) for own in places) <= 4
    assert min(len({CATEGORIES[place] for place in own}) for own in places) <= 2


def test_a_smaller_alpha_makes_clients_more_unlike_and_each_has_its_minimum() -> None:
    alike, unlike = (dealt(Partition(kind="dirichlet", alpha=alpha), 10) for alpha in (100.0, 0.1))
    assert heterogeneity(CATEGORIES, alike) < 0.1 < 0.5 < heterogeneity(CATEGORIES, unlike)
    assert min(map(len, alike + unlike)) >= 40


def test_one_category_or_file_a_client() -> None:
    assert [{CATEGORIES[place] for place in own} for own in dealt(Partition(kind="category"), 8)] == [
        {f"category {number}"} for number in range(8)
    ]
    assert [len(own) for own in dealt(Partition(kind="file"), 5)] == [320] * 5
    assert heterogeneity(CATEGORIES, dealt(Partition(kind="category"), 8)) == pytest.approx(7 / 8)
    with pytest.raises(UserError, match="8 categories, not 3"):
        dealt(Partition(kind="category"), 3)


def test_what_the_records_do_not_give_is_said() -> None:
    with pytest.raises(UserError, match="do not give 50 clients 40 each"):
        dealt(Partition(kind="dirichlet"), 50)
    with pytest.raises(UserError, match="would have no record"):
        dealt(Partition(kind="iid"), 1601)
    with pytest.raises(UserError, match="too few to hold 200"):
        held_out(CATEGORIES, 200, np.random.default_rng(1))


def test_as_many_records_of_each_category_are_held_out_and_nobody_trains_on_them() -> None:
    kept, out = held_out(CATEGORIES, 10, np.random.default_rng(1))
    assert set(Counter(CATEGORIES[place] for place in out).values()) == {10}
    assert sorted(kept + out) == list(range(1600))
