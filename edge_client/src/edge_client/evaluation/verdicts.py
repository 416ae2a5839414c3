"""From judgements to what can be said: wins, ties and losses with their intervals, scores, and the judge's own bias."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from .judging import Judgement, Judging
from .kept import Kept
from .pairwise import Verdict, contradict, verdict
from .report import UNNAMED, as_data
from .shares import less, share
from .statistics import CONFIDENCE, Draws, Interval, Values, enough

MARGIN = 0.01
"""Nats a token: under a smaller difference the local judge takes two arms for equal, one per cent in probability."""
_VERDICTS: tuple[Verdict, ...] = ("win", "tie", "loss")


def judged(judging: Judging, resamples: int, seed: int) -> dict[str, Any]:
    """What the judge found, as data: ``win``, ``tie`` and ``loss`` of the first arm, as shares of the records with two
    readable replies; ``scores`` of each arm and their paired difference; ``position``: how often the answer shown first
    and second was preferred, and the difference of the two shares; the rest are counts."""
    verdicts: list[Verdict] = []
    labels, marks, leads = [], [], []
    counts = Counter({"identical": 0, "contradictory": 0, "unparsed": 0, "not_judged": 0})
    asked: dict[str, Judgement] = {}
    for pair in judging.pairs:
        if pair.identical:
            counts["identical"] += 1
            verdicts.append("tie")
            labels.append(pair.record.category)
            continue
        one_first, other_first = judging.replies(pair)
        asked |= {each.key: each for each in (one_first, other_first) if each is not None}
        if one_first is None or other_first is None:
            counts["not_judged"] += 1
        elif one_first.scores is None or other_first.scores is None:
            counts["unparsed"] += 1
        else:
            a, b = one_first.scores, other_first.scores
            counts["contradictory"] += contradict(a, b)
            verdicts.append(verdict(a, b))
            labels.append(pair.record.category)
            marks.append(((a[0] + b[1]) / 2, (a[1] + b[0]) / 2))
            leads.append((np.sign(a[0] - a[1]) + np.sign(b[0] - b[1])) / 2)
    shown = [each.scores for each in asked.values() if each.scores is not None]
    draws = Draws(len(marks), resamples, seed)
    weights = np.ones(len(marks))
    means = np.array(marks).reshape(-1, 2)

    def interval(values: Values) -> Interval:
        return enough(draws.interval(values, weights), len(marks))

    return {
        **_shares(verdicts, labels),
        **counts,
        "scores": {
            "first_arm": as_data(interval(means[:, 0])),
            "second_arm": as_data(interval(means[:, 1])),
            "difference": as_data(interval(means[:, 0] - means[:, 1])),
        },
        "position": {
            "first": _share([s[0] > s[1] for s in shown]),
            "second": _share([s[0] < s[1] for s in shown]),
            "equal": _share([s[0] == s[1] for s in shown]),
            "bias": as_data(interval(np.array(leads, np.float64))),
        },
        "questions": len(asked),
        "prompt_tokens": sum(j.prompt_tokens for j in asked.values()),
        "completion_tokens": sum(j.completion_tokens for j in asked.values()),
        "cost": round(sum(j.cost for j in asked.values()), 6),
    }


def likelier(kept: Kept, one: str, other: str, resamples: int, seed: int) -> dict[str, Any]:
    """The judge for where there is none: an arm wins where it gives the reference answer a token's loss that is lower
    by more than :data:`MARGIN`. ``difference``: of the loss a token over all records, one less other, paired."""
    losses = {(loss.arm, loss.place): loss for loss in kept.losses.values}
    pairs = [
        (loss, losses[other, place])
        for (arm, place), loss in sorted(losses.items())
        if arm == one and (other, place) in losses and loss.tokens
    ]
    verdicts: list[Verdict] = []
    for a, b in pairs:
        lead = (b.loss - a.loss) / a.tokens
        verdicts.append("tie" if abs(lead) <= MARGIN else "win" if lead > 0 else "loss")
    draws = Draws(len(pairs), resamples, seed)
    difference = draws.difference([a.loss for a, _ in pairs], [b.loss for _, b in pairs], [a.tokens for a, _ in pairs])
    return _shares(verdicts, [a.category for a, _ in pairs]) | {
        "margin": MARGIN,
        "difference": as_data(enough(difference, len(pairs))),
    }


def _shares(verdicts: Sequence[Verdict], labels: Sequence[str]) -> dict[str, Any]:
    def shares(among: Sequence[Verdict]) -> dict[str, Any]:
        hits: dict[str, Values] = {name: np.array([each == name for each in among], np.float64) for name in _VERDICTS}
        found: dict[str, Any] = {name: as_data(share(values)) for name, values in hits.items()}
        return {"records": len(among), **found, "lead": as_data(less(hits["win"], hits["loss"]))}

    names = [label or UNNAMED for label in labels]
    return {
        "confidence": CONFIDENCE,
        **shares(verdicts),
        "by_category": {
            name: shares([each for each, label in zip(verdicts, names, strict=True) if label == name])
            for name in sorted(set(names))
        },
    }


def _share(hits: Sequence[bool]) -> float | None:
    return round(sum(hits) / len(hits), 5) if hits else None
