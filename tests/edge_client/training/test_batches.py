"""A step's records are the same whatever memory there is, and every record has its turn in every epoch."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from edge_client.data.template import Example
from edge_client.training.batches import Schedule, next_piece

lengths = st.lists(st.integers(2, 40), min_size=1, max_size=30)


def examples(sizes: list[int]) -> list[Example]:
    return [Example(tuple(range(size)), 1, place) for place, size in enumerate(sizes)]


@given(lengths, st.integers(1, 12), st.integers(1, 3))
def test_in_every_epoch_each_record_is_trained_on_once(sizes: list[int], batch: int, epochs: int) -> None:
    schedule = Schedule(examples(sizes), batch, epochs * len(sizes), seed=1)
    assert schedule.steps is not None
    seen = Counter(e.record for step in range(schedule.steps) for e in schedule.step(step))
    assert seen == Counter(dict.fromkeys(range(len(sizes)), epochs))
    assert schedule.seen(schedule.steps) == len(sizes)


@given(lengths, st.integers(1, 12), st.integers(1, 200), st.booleans())
def test_pieces_hold_all_of_a_step_in_order_within_the_capacity(
    sizes: list[int], batch: int, capacity: int, packed: bool
) -> None:
    step = Schedule(examples(sizes), batch, None, seed=2).step(3)
    made: list[list[Example]] = []
    while (done := sum(map(len, made))) < len(step):
        made.append(list(next_piece(step, done, capacity, packed=packed)))
    assert [e for piece in made for e in piece] == step
    for piece in made:
        tokens = [len(e.tokens) for e in piece]
        assert len(piece) == 1 or (sum(tokens) if packed else len(piece) * max(tokens)) <= capacity


@given(lengths, st.integers(1, 12), st.integers(0, 9))
def test_a_step_can_be_made_again_without_those_before_it(sizes: list[int], batch: int, step: int) -> None:
    first = Schedule(examples(sizes), batch, None, seed=3)
    for number in range(step):
        first.step(number)
    assert first.step(step) == Schedule(examples(sizes), batch, None, seed=3).step(step)


def test_another_seed_or_epoch_gives_another_order() -> None:
    some = examples([5] * 20)
    orders = {
        tuple(e.record for e in Schedule(some, 20, None, seed).step(step)) for seed in (1, 2, 3) for step in (0, 1)
    }
    assert len(orders) == 6


def test_the_last_step_of_an_epoch_is_the_rest() -> None:
    schedule = Schedule(examples([5] * 10), 4, 10, seed=1)
    assert [len(schedule.step(number)) for number in range(3)] == [4, 4, 2]
    assert [schedule.seen(steps) for steps in range(4)] == [0, 4, 8, 10]
