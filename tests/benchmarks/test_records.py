"""The demo's data: reproducible, checkable, and never trained on what it is judged by."""

import itertools

import pytest

from benchmarks.demo.records import CATEGORIES, Record, check, generate
from benchmarks.demo.split import evaluation_set, split_for_clients

SEEDS = range(5)


def _pool(per_category: int = 48) -> list[Record]:
    return [record for category in CATEGORIES for record in generate(category, per_category, seed=0)]


def _question(record: Record) -> tuple[str, str]:
    return record["instruction"], record["context"]


def test_the_same_seed_gives_the_same_records_and_another_seed_others() -> None:
    for category in CATEGORIES:
        assert generate(category, 12, seed=1) == generate(category, 12, seed=1)
        assert generate(category, 12, seed=1) != generate(category, 12, seed=2)


def test_no_held_out_question_is_ever_a_training_question() -> None:
    for category in CATEGORIES:
        trained = {_question(r) for seed in SEEDS for r in generate(category, 48, seed)}
        held_out = {_question(r) for seed in SEEDS for r in generate(category, 6, seed, held_out=True)}
        assert not trained & held_out


def test_a_word_that_is_classified_in_training_is_never_classified_in_the_evaluation() -> None:
    def words(records: list[Record]) -> set[str]:
        return {record["instruction"].split("'")[1] for record in records}

    trained = words([r for seed in SEEDS for r in generate("classification", 48, seed)])
    assert not trained & words([r for seed in SEEDS for r in generate("classification", 6, seed, held_out=True)])


def test_every_record_passes_its_own_check_and_no_other_record_of_its_category_does() -> None:
    for category in CATEGORIES:
        records = generate(category, 24, seed=3)
        for record in records:
            assert check(record, record["response"])
        for one, other in itertools.permutations(records, 2):
            same = one["response"].splitlines()[0].lower() == other["response"].splitlines()[0].lower()
            assert check(one, other["response"]) is same


@pytest.mark.parametrize(
    ("answer", "text", "right"),
    [
        ("42", "Answer: 42", True),
        ("42", "answer: none\nAnswer: 42.", True),
        ("42", "She has 42 stamps now.", True),
        ("1250", "That is 1,250 grams.", True),
        ("42", "Answer: 142", False),
        ("42", "Answer: 42 or 43", False),
        ("42", "She has 4.\n42 is another number.", False),
        ("42", "", False),
    ],
)
def test_an_answer_counts_only_where_it_is_said_plainly(answer: str, text: str, right: bool) -> None:
    record = Record(instruction="", context="", response=f"Answer: {answer}\nWhy: so.", category="arithmetic")
    assert check(record, text) is right


def test_naming_every_class_is_no_classification() -> None:
    record = Record(instruction="", context="", response="Answer: fish\nWhy: so.", category="classification")
    assert check(record, "A trout is a fish.")
    assert not check(record, "A trout is a fish, a bird or an insect.")


def test_an_unknown_category_and_too_many_records_are_refused() -> None:
    with pytest.raises(ValueError, match="no category 'poetry'"):
        generate("poetry", 1, seed=0)
    with pytest.raises(ValueError, match="different records"):
        generate("classification", 97, seed=0)


def test_five_clients_get_two_or_three_categories_each_and_all_eight_together() -> None:
    for seed in SEEDS:
        files = split_for_clients(_pool(), clients=5, per_client=24, seed=seed)
        held = [{record["category"] for record in file} for file in files]
        assert [len(file) for file in files] == [24] * 5
        assert all(2 <= len(categories) <= 3 for categories in held)
        assert set().union(*held) == set(CATEGORIES)
        for file, categories in zip(files, held, strict=True):
            assert {r["category"] for r in file[:12]} == {r["category"] for r in file[12:]} == categories


def test_no_record_is_given_to_two_clients() -> None:
    questions = [_question(r) for file in split_for_clients(_pool(), clients=5, per_client=24, seed=1) for r in file]
    assert len(set(questions)) == len(questions)


def test_a_pool_that_is_too_small_is_refused_by_the_category_that_lacks_records() -> None:
    with pytest.raises(ValueError, match=r"category '\w+' has \d+ records left"):
        split_for_clients(_pool(4))


def test_the_evaluation_set_holds_six_of_each_category() -> None:
    chosen = evaluation_set(_pool(), per_category=6, seed=0)
    assert len(chosen) == 48
    assert {category: sum(r["category"] == category for r in chosen) for category in CATEGORIES} == dict.fromkeys(
        CATEGORIES, 6
    )
