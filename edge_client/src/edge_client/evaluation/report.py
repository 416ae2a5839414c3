"""From what is kept to what can be said: each arm's figures with intervals, and differences paired by record."""

import math
from collections.abc import Collection, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_client.data.source import Record

from .kept import Answer, Kept
from .metrics import is_checkable, is_exact, rouge_l
from .shares import less, share
from .statistics import CONFIDENCE, Draws, Interval, Values, enough

_DIGITS = 5
UNNAMED = "(none)"
"""How records without a category are listed."""


class Measure(NamedTuple):
    """A figure of each record: Σ values / Σ weights is the arm's. A weight of 0: it does not count. ``share``: values
    and weights are 0 or 1."""

    values: Values
    weights: Values
    share: bool = False


class Arms:
    """Measures by arm and name, with the draws that they are all judged on."""

    def __init__(self, measures: Mapping[str, Mapping[str, Measure]], resamples: int, seed: int) -> None:
        self.measures = measures
        self._resamples = resamples
        self._seed = seed
        self._draws: dict[bytes, Draws] = {}

    def interval(self, arm: str, name: str, among: Values) -> Interval:
        """``name`` of ``arm`` over the records where ``among`` is true."""
        values, weights, is_share = self.measures[arm][name]
        if is_share:
            return share(values[_counted(weights, among)])
        return self._interval(values, weights, among)

    def difference(self, one: str, other: str, name: str, among: Values) -> Interval:
        """``name`` of ``one`` less that of ``other``, paired by record."""
        values, weights, is_share = self.measures[one][name]
        others = self.measures[other][name].values
        if is_share:
            counted = _counted(weights, among)
            return less(values[counted], others[counted])
        return self._interval(values - others, weights, among)

    def _interval(self, values: Values, weights: Values, among: Values) -> Interval:
        counted = _counted(weights, among)
        key = np.packbits(counted).tobytes()
        if key not in self._draws:
            self._draws[key] = Draws(int(counted.sum()), self._resamples, self._seed)
        return enough(self._draws[key].interval(values[counted], weights[counted]), int(counted.sum()))


def _counted(weights: Values, among: Values) -> NDArray[np.bool_]:
    return (weights > 0) & (among > 0)


def summarize(
    kept: Kept,
    names: Sequence[str],
    records: Sequence[Record],
    answered: Sequence[int],
    exact: Collection[str] | None,
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """The results as data that JSON can hold. ``arms`` → NAME → ``loss``, ``perplexity`` and, where there are answers,
    ``rouge_l``, ``exact_match`` → value, low, high; the same in ``by_category``, beside ``records``; ``differences`` →
    "A - B" → loss, rouge_l, exact_match, paired by record. A figure that nothing counts for is null; one of too few
    records for an interval has none."""
    measures = {name: _measures(kept, name, records, answered, exact) for name in names}
    arms = Arms(measures, resamples, seed)
    labels = np.array([record.category or UNNAMED for record in records])
    groups = {label: (labels == label).astype(np.float64) for label in sorted(set(labels.tolist()))}
    every = np.ones(len(records))
    said = {(answer.arm, answer.place): answer for answer in kept.answers.values}
    return {
        "records": len(records),
        "without_loss": int((measures[names[0]]["loss"].weights == 0).sum()),
        "confidence": CONFIDENCE,
        "resamples": resamples,
        "seed": seed,
        "arms": {
            name: _figures(arms, name, every)
            | {"answers": _told([said[name, place] for place in answered], measures[name])}
            | {
                "by_category": {
                    label: {"records": int(among.sum())} | _figures(arms, name, among)
                    for label, among in groups.items()
                }
            }
            for name in names
        },
        "differences": {
            f"{one} - {other}": _differences(arms, one, other, every)
            | {"by_category": {label: _differences(arms, one, other, among) for label, among in groups.items()}}
            for other, one in combinations(names, 2)
        },
    }


def _measures(
    kept: Kept, name: str, records: Sequence[Record], answered: Sequence[int], exact: Collection[str] | None
) -> dict[str, Measure]:
    losses, tokens = np.zeros(len(records)), np.zeros(len(records))
    for loss in kept.losses.values:
        if loss.arm == name:
            losses[loss.place], tokens[loss.place] = loss.loss, loss.tokens
    found = {"loss": Measure(losses, tokens)}
    if answered:
        said = {answer.place: answer.text for answer in kept.answers.values if answer.arm == name}
        scores, hits, chosen, checkable = (np.zeros(len(records)) for _ in range(4))
        for place in answered:
            record = records[place]
            scores[place], chosen[place] = rouge_l(record.response, said[place]), 1
            hits[place] = is_exact(record.response, said[place])
            checkable[place] = is_checkable(record, exact)
        found |= {"rouge_l": Measure(scores, chosen), "exact_match": Measure(hits * checkable, checkable, share=True)}
    return found


def _figures(arms: Arms, name: str, among: Values) -> dict[str, Any]:
    found = {measure: arms.interval(name, measure, among) for measure in arms.measures[name]}
    loss = found["loss"]
    return {
        "loss": as_data(loss),
        "perplexity": as_data(Interval(*(math.exp(min(value, 700.0)) for value in loss))),
        **{measure: as_data(interval) for measure, interval in found.items() if measure != "loss"},
    }


def _differences(arms: Arms, one: str, other: str, among: Values) -> dict[str, Any]:
    return {measure: as_data(arms.difference(one, other, measure, among)) for measure in arms.measures[one]}


def _told(answers: Sequence[Answer], measures: Mapping[str, Measure]) -> dict[str, int] | None:
    if not answers:
        return None
    return {
        "records": len(answers),
        "checkable": int(measures["exact_match"].weights.sum()),
        "cut_off": sum(not answer.ended for answer in answers),
        "tokens": sum(answer.tokens for answer in answers),
    }


def as_data(interval: Interval) -> dict[str, float] | None:
    """``value``, ``low`` and ``high``, the value alone where there are no bounds; None for an interval of nothing."""
    if math.isnan(interval.value):
        return None
    return {name: round(value, _DIGITS) for name, value in interval._asdict().items() if not math.isnan(value)}
