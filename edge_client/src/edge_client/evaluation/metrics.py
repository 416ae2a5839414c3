"""What an answer is worth beside its reference: ROUGE-L, and exact match where the reference can be checked."""

import re
import string
from collections.abc import Collection

from edge_client.data.source import Record
from fedit_shared.errors import UserError

SHORT = 5
"""Words of the longest reference that is taken for checkable where no categories are named."""
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
_WORD = re.compile(r"[^\W_]+")


def rouge_l(reference: str, answer: str) -> float:
    """F1 of the longest common subsequence of words (Lin 2004, section 3), without stemming.

    On ASCII text it is the figure of Google's ``rouge-score`` (a sdist of 2022 that is built on nltk); letters of other
    scripts, which that throws away, are kept. Raises UserError if the library for subsequences is not installed.
    """
    wanted, said = (_WORD.findall(text.lower()) for text in (reference, answer))
    common = _common(wanted, said)
    return 2 * common / (len(wanted) + len(said)) if common else 0.0


def _common(one: list[str], other: list[str]) -> int:
    """Words of the longest common subsequence."""
    try:
        from rapidfuzz.distance import LCSseq
    except ImportError as error:
        problem = "ROUGE-L is scored with a library that is not installed."
        raise UserError(problem, advice="Run `pip install rapidfuzz`.") from error
    return LCSseq.similarity(one, other)


def is_exact(reference: str, answer: str) -> bool:
    """Whether both are the same after SQuAD's normalisation (Rajpurkar et al., arXiv 1606.05250, section 6.1): no case,
    punctuation, articles or extra white space."""
    return normalized(reference) == normalized(answer)


def normalized(text: str) -> str:
    """``text`` as SQuAD's evaluation compares it."""
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def is_checkable(record: Record, categories: Collection[str] | None) -> bool:
    """Whether an answer to ``record`` is right or wrong by comparison with its reference: those of ``categories``, or,
    if that is None, those whose reference has at most :data:`SHORT` words."""
    if categories is not None:
        return record.category in categories
    return 0 < len(normalized(record.response).split()) <= SHORT
