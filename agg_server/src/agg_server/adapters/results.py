"""Results of an evaluation, as ``fedit-client evaluate --json`` writes them: read with suspicion, shown as tables."""

from pathlib import Path
from typing import Annotated

import msgspec

from fedit_shared.errors import UserError
from fedit_shared.messages import UNREADABLE

from .markup import code, table

_LARGEST = 16 * 2**20
_MEASURES = {"loss": "loss", "perplexity": "perplexity", "rouge_l": "ROUGE-L", "exact_match": "exact match"}
_Number = Annotated[float, msgspec.Meta(ge=-1e12, le=1e12)]


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """A value and its interval."""

    value: _Number
    low: _Number
    high: _Number

    def __str__(self) -> str:
        return f"{self.value:.4g} ({self.low:.4g} to {self.high:.4g})"


class _Figures(msgspec.Struct, frozen=True, kw_only=True):
    loss: Figure | None = None
    perplexity: Figure | None = None
    rouge_l: Figure | None = None
    exact_match: Figure | None = None


class _Group(_Figures, frozen=True, kw_only=True):
    records: int


class _Arm(_Figures, frozen=True, kw_only=True):
    by_category: dict[str, _Group] = {}


class _Score(msgspec.Struct, frozen=True, kw_only=True):
    value: _Number
    low: _Number | None = None
    high: _Number | None = None

    def __str__(self) -> str:
        between = "" if self.low is None or self.high is None else f" ({self.low:.4g} to {self.high:.4g})"
        return f"{self.value:.4g}{between}"


class _Task(msgspec.Struct, frozen=True, kw_only=True):
    arms: dict[str, _Score]


class Results(msgspec.Struct, frozen=True, kw_only=True):
    """What is shown of them."""

    records: int
    confidence: Annotated[float, msgspec.Meta(gt=0, lt=1)]
    arms: Annotated[dict[str, _Arm], msgspec.Meta(min_length=1, max_length=50)]
    differences: dict[str, _Figures] = {}
    tasks: dict[str, dict[str, _Task]] = {}
    """Task of lm-evaluation-harness → metric."""


def read_results(file: Path) -> Results:
    """The results in ``file``. Raises UserError for anything else."""
    try:
        if file.stat().st_size > _LARGEST:
            raise UserError(f"{file} is too large for results.", advice=_ADVICE)
        return msgspec.json.decode(file.read_bytes(), type=Results)
    except OSError as error:
        raise UserError(f"{file} cannot be read: {error.strerror}.", advice=_ADVICE) from error
    except UNREADABLE as error:
        raise UserError(f"{file} holds no results: {error}.", advice=_ADVICE) from error


_ADVICE = "Name what `fedit-client evaluate --json` wrote."


def shown(results: Results) -> str:
    """Arms, differences, losses by category, and tasks, in Markdown."""
    confidence = f"In brackets: {results.confidence:.0%} intervals by bootstrap; differences are paired."
    parts = [f"As `fedit-client evaluate` found them. {confidence}"]
    if results.records:
        parts += [f"On {results.records} held-out records:", _overall(results)]
    first = next(iter(results.arms.values()))
    if len(first.by_category) > 1:
        losses = [
            [code(name), str(group.records), *(_cell(_loss(arm, name)) for arm in results.arms.values())]
            for name, group in first.by_category.items()
        ]
        parts += ["Loss by category:", table(["category", "records", *map(code, results.arms)], losses)]
    scores = [
        [code(task), code(metric), *(_cell(found.arms.get(arm)) for arm in results.arms)]
        for task, metrics in results.tasks.items()
        for metric, found in metrics.items()
    ]
    if scores:
        parts += ["Tasks of lm-evaluation-harness:", table(["task", "metric", *map(code, results.arms)], scores)]
    return "\n\n".join(parts)


def _overall(results: Results) -> str:
    rows = {**results.arms, **results.differences}
    measures = [key for key in _MEASURES if any(getattr(row, key) is not None for row in rows.values())]
    return table(
        ["", *(_MEASURES[key] for key in measures)],
        [[code(name), *(_cell(getattr(row, key)) for key in measures)] for name, row in rows.items()],
    )


def _loss(arm: _Arm, category: str) -> Figure | None:
    return arm.by_category[category].loss if category in arm.by_category else None


def _cell(figure: Figure | _Score | None) -> str:
    return "" if figure is None else str(figure)
