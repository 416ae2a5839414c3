"""Nobody trains on a record that judges: it is held out, refused, or counted."""

from pathlib import Path

import pytest
from tiny_model import make_records, write_records

from benchmarks.fedit.population import Population, populate
from benchmarks.fedit.settings import Given, load_experiment
from edge_client.data import Record
from fedit_shared.errors import UserError

SETTINGS = """
[run]
name = "t"
[data]
files = ["data.jsonl"]
held_out = 6
[model]
id = "m"
[clients]
count = 4
[partition]
kind = "iid"
[federation]
rounds = 1
"""
RECORDS = make_records(60)


def people(folder: Path, data: list[dict[str, str]], more: str = "", evaluation: str | None = None) -> Population:
    write_records(folder / "data.jsonl", data)
    (folder / "e.toml").write_text(SETTINGS.replace("held_out = 6\n", f"held_out = 6\n{more}"))
    return populate(load_experiment(folder / "e.toml", Given(evaluation=evaluation)))


def words(records: tuple[Record, ...]) -> set[tuple[str, str, str]]:
    return {(record.instruction, record.context, record.response) for record in records}


@pytest.mark.parametrize(("more", "dealt"), [("", 48), ("limit = 20\n", 20)])
def test_what_is_held_out_is_dealt_to_no_client(tmp_path: Path, more: str, dealt: int) -> None:
    population = people(tmp_path, RECORDS, more)
    judged = words(population.evaluation)
    assert len(judged) == len(population.evaluation) == 12
    assert [sum(record.category == name for record in population.evaluation) for name in ("even", "odd")] == [6, 6]
    owned = [words(population.of(client)) for client in range(4)]
    assert sum(map(len, owned)) == len(set().union(*owned)) == dealt
    assert not judged & (set().union(*owned) | words(population.records))
    assert population.trained_on == 0


def test_a_file_for_evaluation_with_records_that_are_trained_on_is_refused_with_their_number(tmp_path: Path) -> None:
    dealt = words(people(tmp_path, RECORDS).records)
    line = next(n for n, r in enumerate(RECORDS, 1) if (r["instruction"], r["context"], r["response"]) in dealt)
    with pytest.raises(UserError, match=rf"48 of 60 records of .*data.jsonl .* the first in line {line}"):
        people(tmp_path, RECORDS, evaluation=str(tmp_path / "data.jsonl"))
    new = write_records(tmp_path / "new.jsonl", make_records(70)[60:])
    assert len(people(tmp_path, RECORDS, evaluation=str(new)).evaluation) == 12 + 10


def test_records_that_the_data_set_has_twice_are_counted_where_one_of_the_two_judges(tmp_path: Path) -> None:
    population = people(tmp_path, RECORDS + RECORDS)
    twice = words(population.evaluation) & words(population.records)
    assert 0 < population.trained_on == len(twice)
