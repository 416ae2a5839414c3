"""ROUGE-L and exact match say what the libraries say that published figures come from."""

import pytest

from edge_client.data import Record
from edge_client.evaluation.metrics import is_checkable, is_exact, rouge_l


@pytest.mark.parametrize(
    ("reference", "answer", "score"),  # by rouge-score 0.1.2: RougeScorer(["rougeL"]).score(reference, answer)
    [
        ("The quick brown fox jumps over the lazy dog", "The quick brown dog jumps on the log.", 0.5882352941176471),
        ("police killed the gunman", "the gunman police killed", 0.5),
        ("It's 3.14, isn't it?", "it is 3.14", 0.5454545454545454),
        ("a_b c", "A, b; C!", 1.0),
        ("", "x", 0.0),
        ("x", "", 0.0),
    ],
)
def test_rouge_l_is_the_figure_of_googles_library(reference: str, answer: str, score: float) -> None:
    assert rouge_l(reference, answer) == pytest.approx(score, abs=1e-12)


def test_words_of_other_scripts_count() -> None:
    assert rouge_l("Köln liegt am Rhein", "köln liegt an der elbe") == pytest.approx(2 * 2 / (4 + 5))


@pytest.mark.parametrize(
    ("reference", "answer", "same"),
    [
        ("The Eiffel Tower!", "eiffel  tower", True),
        ("42", "42.", True),
        ("an apple", "apple", True),
        ("theatre", "atre", False),
        ("42", "43", False),
        ("Paris", "Paris, France", False),
    ],
)
def test_exact_match_forgives_what_squad_forgives_and_nothing_else(reference: str, answer: str, same: bool) -> None:
    assert is_exact(reference, answer) is same


def test_a_short_reference_is_checkable_unless_categories_are_named() -> None:
    short = Record(instruction="?", response="The 4th of July, 1776", category="fact")
    long = Record(instruction="?", response="one two three four five six", category="essay")
    empty = Record(instruction="?", response="...", category="fact")
    assert [is_checkable(record, None) for record in (short, long, empty)] == [True, False, False]
    assert [is_checkable(record, ("essay",)) for record in (short, long, empty)] == [False, True, False]
