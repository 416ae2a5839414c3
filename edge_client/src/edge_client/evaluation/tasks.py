"""Tasks of lm-evaluation-harness: done for each arm, kept, and compared document by document."""

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from itertools import combinations
from typing import Any

import msgspec
import numpy as np

from edge_client.inference import InferenceProcess, TaskFigure
from fedit_shared.errors import UserError

from .kept import Arm, Done
from .lines import Lines
from .report import as_data
from .run import Progress
from .shares import are_shares, less, share
from .statistics import Draws, Interval, Values, enough


class Tasks(msgspec.Struct, frozen=True):
    """Which tasks, and how: see :class:`edge_client.inference.protocol.RunTask`. Raises UserError where there are any
    and the harness is not installed."""

    names: tuple[str, ...] = ()
    include_path: str | None = None
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.names and find_spec("lm_eval") is None:
            problem = "Tasks by name are those of lm-evaluation-harness, which is not installed."
            raise UserError(problem, advice="Run `pip install lm-eval`.")


async def run_tasks(
    model: InferenceProcess, arms: Sequence[Arm], tasks: Tasks, done: Lines[Done], progress: Progress
) -> None:
    """Do what is not ``done`` yet."""
    for arm, name in missing(arms, tasks, done):
        figures = await model.run_task(
            arm.adapter,
            name,
            include_path=tasks.include_path,
            limit=tasks.limit,
            scored=partial(progress, f"{name}, {arm.name}"),
        )
        done.add([Done(arm=arm.name, name=name, limit=tasks.limit, figures=figures)])


def missing(arms: Sequence[Arm], tasks: Tasks, done: Lines[Done]) -> list[tuple[Arm, str]]:
    """What is still to do."""
    known = {(each.arm, each.name) for each in done.values if each.limit == tasks.limit}
    return [(arm, name) for name in tasks.names for arm in arms if (arm.name, name) not in known]


def compare(
    names: Sequence[str], tasks: Tasks, done: Lines[Done], *, resamples: int, seed: int
) -> Mapping[str, Mapping[str, Any]]:
    """TASK → METRIC → ``arms`` → NAME → value, low, high, and ``differences`` → "A - B" → the same, paired by document.
    A metric that is no mean over documents has neither interval nor difference."""
    found: dict[str, dict[str, dict[str, TaskFigure]]] = {}
    for each in done.values:
        if each.arm in names and each.name in tasks.names and each.limit == tasks.limit:
            for figure in each.figures:
                found.setdefault(figure.task, {}).setdefault(figure.metric, {})[each.arm] = figure
    return {
        task: {metric: _compared(names, figures, resamples, seed) for metric, figures in metrics.items()}
        for task, metrics in found.items()
    }


def _compared(names: Sequence[str], figures: Mapping[str, TaskFigure], resamples: int, seed: int) -> dict[str, Any]:
    values = {name: np.array(figures[name].values, np.float64) for name in names if name in figures}
    size = min((len(each) for each in values.values()), default=0)
    if not size or any(len(each) != size for each in values.values()):
        return {"arms": {name: {"value": figure.value} for name, figure in figures.items()}, "differences": {}}
    draws, weights = Draws(size, resamples, seed), np.ones(size)
    shares = all(map(are_shares, values.values()))

    def interval(one: Values) -> Interval:
        return share(one) if shares else enough(draws.interval(one, weights), size)

    def difference(one: Values, other: Values) -> Interval:
        return less(one, other) if shares else enough(draws.interval(one - other, weights), size)

    return {
        "documents": size,
        "arms": {name: as_data(interval(each)) for name, each in values.items()},
        "differences": {
            f"{one} - {other}": as_data(difference(values[one], values[other]))
            for other, one in combinations(values, 2)
        },
    }
