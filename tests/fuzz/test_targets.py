"""Every decoder of somebody else's bytes takes them in or refuses them, whatever they are, and in bounded memory."""

from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest
from fuzzing.mutations import mutated
from fuzzing.table import FOUND, TARGETS, found
from fuzzing.target import ROOM, Target
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_client.data import limits

every_target = pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)


@contextmanager
def bounded() -> Iterator[None]:
    """MemoryError for what takes more than ROOM, where the system can say so."""
    before = limits.ROOM
    limits.ROOM = ROOM
    try:
        with limits._bounded_data():
            yield
    finally:
        limits.ROOM = before


@every_target
def test_valid_inputs_are_accepted(target: Target) -> None:
    assert sum(map(target.accepts, target.seeds)) > 0


@every_target
def test_nothing_but_a_refusal_comes_of_inputs_that_are_nearly_right(target: Target) -> None:
    seeds = list(target.seeds)

    @settings(max_examples=target.cases, deadline=None, database=None)
    @given(st.sampled_from(seeds), st.integers(0, 2**64 - 1))
    def attempt(seed: bytes, chance: int) -> None:
        target.accepts(mutated(Random(chance), seed, target.form, seeds, target.longest))

    with bounded():
        attempt()


@every_target
def test_nothing_but_a_refusal_comes_of_any_bytes(target: Target) -> None:
    @settings(max_examples=20, deadline=None, database=None)
    @given(st.binary(max_size=min(target.longest, 100)))
    def attempt(data: bytes) -> None:
        target.accepts(data)

    with bounded():
        attempt()


@pytest.mark.parametrize("name", [f"{file.parent.name}/{file.name}" for t in TARGETS.values() for file in found(t)])
def test_what_was_found_once_is_not_found_again(name: str) -> None:
    with bounded():
        TARGETS[name.partition("/")[0]].accepts((FOUND / name).read_bytes())
