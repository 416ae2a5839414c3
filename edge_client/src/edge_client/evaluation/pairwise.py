"""Which of two answers is better: the question put to a judge, what its reply says, and what follows from both orders.

The question is that of Vicuna's evaluation by GPT-4 (Chiang et al. 2023): two answers get a score of 1 to 10 each.
FedIT (arXiv 2305.05644) has GPT-4 judge in this way. A judge favours a place (Zheng et al., arXiv 2306.05685), so each
pair is shown in both orders, and an arm wins only if it is preferred in both.
"""

import re
from typing import Literal, NamedTuple

from edge_client.data.source import Record

Verdict = Literal["win", "tie", "loss"]
Scores = tuple[float, float]

_SYSTEM = "You are a helpful and precise assistant for checking the quality of the answer."
_QUESTION = """[Question]
{question}

[The Start of Assistant 1's Answer]
{first}

[The End of Assistant 1's Answer]

[The Start of Assistant 2's Answer]
{second}

[The End of Assistant 2's Answer]

[System]
{request}"""
_REQUEST = (
    "We would like to request your feedback on the performance of two AI assistants in response to the user question "
    "displayed above.\n"
    "Please rate the helpfulness, relevance, accuracy, level of details of their responses. Each assistant receives an "
    "overall score on a scale of 1 to 10, where a higher score indicates better overall performance.\n"
    "Please first output a single line containing only two values indicating the scores for Assistant 1 and 2, "
    "respectively. The two scores are separated by a space. In the subsequent line, please provide a comprehensive "
    "explanation of your evaluation, avoiding any potential bias and ensuring that the order in which the responses "
    "were presented does not affect your judgment."
)
_THOUGHTS = re.compile(r"\A\s*<think>.*?</think>", re.DOTALL)
_SCORES = re.compile(r"\s*(\d{1,2}(?:\.\d+)?)\s*[\s,]\s*(\d{1,2}(?:\.\d+)?)\s*")


class Message(NamedTuple):
    """One message of the question, as /v1/chat/completions takes it."""

    role: Literal["system", "user"]
    content: str


def question(record: Record, first: str, second: str) -> tuple[Message, ...]:
    """What a judge is asked of the answers ``first`` and ``second`` to ``record``. The reference is not in it."""
    earlier = [f"{turn.role.capitalize()}: {turn.content}" for turn in record.earlier]
    asked = "\n\n".join(part for part in (*earlier, record.instruction, record.context) if part)
    return Message("system", _SYSTEM), Message(
        "user", _QUESTION.format(question=asked, first=first, second=second, request=_REQUEST)
    )


def scores(reply: str) -> Scores | None:
    """The two scores that ``reply`` begins with; None, never a guess, if it does not begin with just two, of 1 to 10.
    What a model thinks aloud in ``<think>`` before that is passed over."""
    said = _THOUGHTS.sub("", reply).strip()
    found = _SCORES.fullmatch(said.partition("\n")[0])
    if found is None:
        return None
    first, second = float(found[1]), float(found[2])
    return (first, second) if 1 <= first <= 10 and 1 <= second <= 10 else None


def verdict(one_first: Scores, other_first: Scores) -> Verdict:
    """Of one arm against the other, from the scores with its answer shown first, and shown second."""
    leads = (one_first[0] - one_first[1], other_first[1] - other_first[0])
    if min(leads) > 0:
        return "win"
    return "loss" if max(leads) < 0 else "tie"


def contradict(one_first: Scores, other_first: Scores) -> bool:
    """Whether the judge preferred one arm in one order and the other in the other."""
    return (one_first[0] - one_first[1]) * (other_first[1] - other_first[0]) < 0
