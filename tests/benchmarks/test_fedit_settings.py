"""EXPERIMENT.toml: presets are valid, a mistake is answered with its line, and who takes part is known beforehand."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.fedit.selection import presence, select
from benchmarks.fedit.settings import PRESETS, Clients, Given, load_experiment, parse_experiment
from benchmarks.fedit.table import NAME
from fedit_shared.errors import UserError

TEXT = """[run]
name = "t"
[data]
files = ["data.jsonl"]
[model]
id = "m"
[clients]
count = 10
fraction = 0.3
[federation]
rounds = 2
"""


@pytest.mark.parametrize("name", sorted(path.stem for path in PRESETS.glob("*.toml")))
def test_every_preset_is_found_by_its_name(name: str) -> None:
    assert load_experiment(Path(name)).run.name == name


def test_the_presets_are_those_that_are_spoken_of() -> None:
    shepherd, paper, small = (load_experiment(Path(name)) for name in ("shepherd", "fedit-paper", "cpu-small"))
    assert (shepherd.clients.count, shepherd.clients.each_round, shepherd.federation.rounds) == (10, 1, 10)
    assert (shepherd.adapter.rank, shepherd.training.learning_rate, shepherd.training.batch_size) == (8, 3e-4, 64)
    assert (paper.clients.count, paper.clients.each_round, paper.federation.rounds) == (100, 5, 20)
    assert "from memory" in (PRESETS / "fedit-paper.toml").read_text()
    assert (shepherd.partition.kind, shepherd.partition.shards, shepherd.data.held_out) == ("shards", 2, 10)
    assert (shepherd.training.epochs, shepherd.training.max_length, shepherd.training.train_on_inputs) == (2, 512, True)
    steps = small.federation.rounds * small.clients.each_round * (small.training.steps or 0)
    assert steps * small.training.batch_size == 640  # what its budget counts with


def test_the_preset_of_the_documentations_table_is_large_enough_and_costs_what_it_says() -> None:
    dolly = load_experiment(Path(NAME))
    assert dolly.run.name == NAME
    assert 8 * dolly.data.held_out >= 400
    assert dolly.arms.federated
    assert dolly.arms.centralized
    assert len(dolly.arms.local) == 3
    steps = dolly.federation.rounds * dolly.clients.each_round * (dolly.training.steps or 0)
    assert f"{steps * dolly.training.batch_size:,} records" in (PRESETS / f"{NAME}.toml").read_text()


@pytest.mark.parametrize(
    ("addition", "told"),
    [
        ('[federation2]\nx = 1\n', "line 12: there is no section [federation2]; did you mean 'federation'?"),
        ("[training]\nlearning_rat = 1\n", "line 13: [training] has no key 'learning_rat'; did you mean"),
        ("[training]\nlearning_rate = 11\n", "line 13: [training] learning_rate: expected `float` <= 10"),
        ("[training]\nminutes = 1\n", "line 13: [training] an experiment counts steps or epochs"),
        ("[partition]\nkind = 'sorted'\n", "line 13: [partition] kind: invalid enum value 'sorted'"),
        ('[server_step]\noptimizer = "fedadm"\n', "line 13: [server_step] there is no such optimizer; did"),
        ('[server_step]\noptimizer = "fedyogi"\n', "line 13: [server_step] fedyogi needs a learning_rate: "),
        ("[arms]\nlocal = [2, 10]\n", "line 13: [arms] there is no client 10"),
        ("[arms\n", "not valid TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_answered_with_its_line(addition: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        parse_experiment(TEXT + addition)
    assert told.replace("`", "").lower() in caught.value.message.lower()


def test_a_masked_sum_of_too_few_is_refused_with_what_does_as_well() -> None:
    few = TEXT.replace("0.3", "0.2") + 'sum = "masked"\n'
    with pytest.raises(UserError, match=r"line 12: .* needs at least 3 clients a round, not 2; sum = \"quantized\""):
        parse_experiment(few)
    assert parse_experiment(TEXT + 'sum = "masked"\n').clients.each_round == 3


@pytest.mark.parametrize("how", ["masked", "quantized", "exact"])
def test_a_round_may_have_more_clients_than_a_cohort_members(how: str) -> None:
    many = TEXT.replace("count = 10", "count = 2000") + f'sum = "{how}"\nslot_bits = 16\n'
    assert parse_experiment(many).clients.each_round == 600


def test_a_section_that_is_missing_and_a_file_that_is_not_there_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="section \\[clients\\] is missing"):
        parse_experiment(TEXT.replace("[clients]\ncount = 10\nfraction = 0.3\n", ""))
    with pytest.raises(UserError, match="no file"):
        load_experiment(tmp_path / "none.toml")


def test_paths_are_those_beside_the_file_unless_given_on_the_command_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "e.toml").write_text(TEXT)
    monkeypatch.chdir("/")
    assert load_experiment(tmp_path / "e.toml").data.files == (str(tmp_path / "data.jsonl"),)
    assert load_experiment(tmp_path / "e.toml", Given(["x", "hf:a/b"])).data.files == ("/x", "hf:a/b")


@pytest.mark.parametrize("how", ["random", "round-robin", "availability"])
def test_as_many_different_clients_as_asked_take_part_in_each_round_and_the_seed_decides(how: str) -> None:
    clients = Clients(count=20, fraction=0.2, selection=how, online=0.4)  # type: ignore[arg-type]
    rounds = select(clients, 50, 3)
    assert len(rounds) == 50
    assert all(
        len(set(chosen)) == 4 and chosen == sorted(chosen) and set(chosen) <= set(range(20)) for chosen in rounds
    )
    assert rounds == select(clients, 50, 3) != select(clients, 50, 4)


@given(
    count=st.integers(1, 60),
    fraction=st.floats(0.01, 1),
    online=st.floats(0.01, 1),
    how=st.sampled_from(["random", "round-robin", "availability"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_round_has_its_clients_however_few_are_there(
    count: int, fraction: float, online: float, how: str, seed: int
) -> None:
    clients = Clients(count=count, fraction=fraction, selection=how, online=online)  # type: ignore[arg-type]
    for chosen in select(clients, 5, seed):
        assert len(set(chosen)) == len(chosen) == clients.each_round
        assert set(chosen) <= set(range(count))


@pytest.mark.parametrize("online", [0.1, 0.5, 0.9, 1.0])
def test_clients_are_there_for_the_share_of_the_day_that_was_asked_for(online: float) -> None:
    begins, lasts = presence(Clients(count=10_000, online=online), np.random.default_rng(1))
    assert lasts.mean() / 24 == pytest.approx(online, rel=0.01)
    assert ((lasts > 0) & (lasts <= 24)).all()
    there = [((hour - begins) % 24 < lasts).mean() for hour in range(24)]
    assert np.allclose(there, online, atol=0.02)


def test_in_turns_everybody_takes_part_equally_often_and_by_availability_not() -> None:
    def counts(how: str) -> list[int]:
        clients = Clients(count=20, fraction=0.2, selection=how, online=0.3)  # type: ignore[arg-type]
        drawn = Counter(client for chosen in select(clients, 500, 1) for client in chosen)
        return [drawn[client] for client in range(20)]

    assert set(counts("round-robin")) == {100}
    assert np.std(counts("availability")) > 1.5 * np.std(counts("random"))
