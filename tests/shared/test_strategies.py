"""Which tensors a round trains and sums: one rule, whose claims are those of the papers."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedit_shared.errors import ProtocolError
from fedit_shared.messages import ModelRef, TaskSpec, TensorSpec, TrainingSettings, decode_task, encode
from fedit_shared.strategies import REFUSED, STRATEGIES, Role, Turn, next_round, require_fits, require_known, turn_of

A, B = "base_model.model.layers.0.q_proj.lora_A.weight", "base_model.model.layers.0.q_proj.lora_B.weight"
EMBEDDED_A, EMBEDDED_B = "base_model.model.embed.lora_embedding_A", "base_model.model.embed.lora_embedding_B"
NAMES = (EMBEDDED_A, EMBEDDED_B, A, B)
SUM, KEEP, REST = Role.SUM, Role.KEEP, Role.REST
ROLES = st.lists(st.tuples(st.integers(1, 9), st.sampled_from(Role)), min_size=1, max_size=12)


def task(strategy: str, names: tuple[str, ...] = NAMES) -> TaskSpec:
    tensors = tuple(TensorSpec(name=name, shape=(4, 3 + place)) for place, name in enumerate(names))
    return TaskSpec(
        name="t",
        model=ModelRef(id="m"),
        adapter_config="{}",
        tensors=tensors,
        training=TrainingSettings(),
        strategy=strategy,
    )


@pytest.mark.parametrize(
    ("strategy", "odd", "even"),
    [
        ("fedavg", (SUM, SUM), (SUM, SUM)),
        ("ffa-lora", (REST, SUM), (REST, SUM)),
        ("rolora", (REST, SUM), (SUM, REST)),
        ("shared-a", (SUM, KEEP), (SUM, KEEP)),
    ],
)
def test_every_round_gives_each_factor_the_role_that_its_paper_says(
    strategy: str, odd: tuple[Role, Role], even: tuple[Role, Role]
) -> None:
    for number in range(1, 9):
        wanted = odd if number % 2 else even
        assert task(strategy).turn(number).roles == wanted * 2
        assert task(strategy).turn(number).dimension == sum(
            4 * (3 + place) for place in range(4) if wanted[place % 2] is SUM
        )
    assert task(strategy).most_summed == max(task(strategy).turn(number).dimension for number in (1, 2))


def test_each_strategy_says_why_a_sum_is_enough_and_what_leaves_the_machine() -> None:
    assert list(STRATEGIES) == ["fedavg", "ffa-lora", "rolora", "shared-a"]
    for strategy in STRATEGIES.values():
        assert "arXiv" in strategy.summed
        assert "sent, masked" in strategy.told
    assert "never sent" in " ".join(STRATEGIES["shared-a"].told.split())


def test_b_is_never_summed_where_it_is_private_whatever_a_model_calls_its_layers() -> None:
    tricky = ("x.lora_A.q.lora_B.weight", "lora_A.lora_embedding_B", "x.lora_A.weight.lora_B.weight", B)
    assert task("shared-a", (A, *tricky)).turn(1).roles == (SUM, KEEP, KEEP, KEEP, KEEP)


@pytest.mark.parametrize("strategy", ["ffa-lora", "rolora", "shared-a"])
def test_an_adapter_with_anything_but_a_and_b_or_with_nothing_to_sum_is_refused(strategy: str) -> None:
    for odd in ("head.weight", "x.lora_B.bias", "x.lora_A.other.weight", "x.lora_A", "xlora_A.weight"):
        with pytest.raises(ValueError, match=r"alone; .+ is neither"):
            require_fits(strategy, (A, B, odd))
        require_fits("fedavg", (A, B, odd))
    with pytest.raises(ValueError, match="nothing to sum"):
        require_fits(strategy, (B if strategy == "shared-a" else A,))
    given = {**msgspec.to_builtins(task(strategy)), "tensors": [{"name": "w", "shape": [2]}]}
    with pytest.raises(ProtocolError, match="neither"):
        decode_task(msgspec.msgpack.encode(given))


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_a_strategy_that_is_not_offered_is_refused_with_the_reason(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not offered: .*arXiv"):
        require_known(name)
    with pytest.raises(ValueError, match="not offered"):
        task(name)


def test_a_task_of_an_unknown_strategy_is_refused_with_the_names_there_are() -> None:
    data = msgspec.msgpack.encode({**msgspec.to_builtins(task("rolora")), "strategy": "fedmagic"})
    with pytest.raises(ProtocolError, match="there are fedavg, ffa-lora, rolora, shared-a"):
        decode_task(data)


def test_the_strategy_is_in_the_tasks_bytes_unless_it_is_the_default() -> None:
    assert b"strategy" not in encode(task("fedavg"))
    for strategy in STRATEGIES:
        assert decode_task(encode(task(strategy))).strategy == strategy
    assert len({encode(task(strategy)) for strategy in STRATEGIES}) == len(STRATEGIES)


def test_so_is_the_strength_of_fedprox() -> None:
    held = msgspec.structs.replace(task("fedavg"), proximal=0.5)
    assert b"proximal" not in encode(task("fedavg"))
    assert decode_task(encode(held)) == held
    for odd in (-1.0, float("inf")):
        with pytest.raises(ProtocolError):
            decode_task(msgspec.msgpack.encode({**msgspec.to_builtins(held), "proximal": odd}))


@given(ROLES, st.sampled_from(Role))
def test_what_is_taken_from_a_vector_goes_back_into_its_places_and_nowhere_else(
    shape: list[tuple[int, Role]], role: Role
) -> None:
    turn = Turn(tuple(size for size, _ in shape), tuple(own for _, own in shape), 0)
    vector = np.arange(sum(turn.sizes), dtype=np.float32)
    owner = np.repeat([own.name for own in turn.roles], turn.sizes)
    taken = turn.take(vector, role)
    assert taken.tolist() == vector[owner == role.name].tolist()
    put = turn.put(vector, -1 - taken, role)
    assert put[owner == role.name].tolist() == (-1 - taken).tolist()
    assert put[owner != role.name].tolist() == vector[owner != role.name].tolist()
    assert vector.tolist() == list(range(vector.size))
    assert turn.dimension == turn.take(vector).size
    places = tuple(range(len(shape)))
    new = [-place for place in turn.pick(places)]
    assert turn.replaced(places, new) == tuple(
        -p if own is SUM else p for p, own in zip(places, turn.roles, strict=True)
    )


@given(st.sampled_from(list(STRATEGIES)), st.lists(st.booleans(), max_size=30))
def test_turns_alternate_from_version_to_version_however_many_rounds_fail_between(
    strategy: str, published: list[bool]
) -> None:
    last, base, turns = 0, None, []
    for succeeds in published:
        number = next_round(strategy, last, base)
        assert last < number <= last + len(STRATEGIES[strategy].turns)
        if succeeds:
            turns.append(turn_of(strategy, [(A, 1), (B, 1)], number).number)
            base = number
        last = number
    assert turns == [place % len(STRATEGIES[strategy].turns) for place in range(len(turns))]


@pytest.mark.parametrize(("strategy", "exact"), [("fedavg", False), ("ffa-lora", True), ("rolora", True)])
@pytest.mark.parametrize("number", [1, 2])
def test_the_mean_of_the_products_is_the_product_of_the_means_exactly_where_one_factor_rests(
    strategy: str, exact: bool, number: int
) -> None:
    rng = np.random.default_rng(number)
    tensors = (TensorSpec(name=A, shape=(2, 5)), TensorSpec(name=B, shape=(7, 2)))
    turn = turn_of(strategy, [(tensor.name, tensor.size) for tensor in tensors], number)
    start = rng.integers(-99, 99, 24).astype(np.float32)  # whole numbers: nothing is rounded
    devices = [turn.put(start, turn.take(start) + rng.integers(-99, 99, turn.dimension)) for _ in range(4)]

    def product(vector: np.ndarray) -> np.ndarray:
        a, b = np.split(vector.astype(np.int64), [10])
        return b.reshape(7, 2) @ a.reshape(2, 5)

    mean = sum(device.astype(np.int64) for device in devices)  # 4 times the mean
    assert np.array_equal(4 * sum(product(device) for device in devices), product(mean)) is exact
