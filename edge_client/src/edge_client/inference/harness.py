"""Tasks of EleutherAI's lm-evaluation-harness on the loaded model, document by document. Its library is an extra."""

import math
from collections.abc import Callable
from typing import Any

from lm_eval import simple_evaluate
from lm_eval.models.huggingface import HFLM
from lm_eval.tasks import TaskManager

from edge_client.reasons import reason_of
from edge_client.training.loading import Base
from edge_client.training.memory import is_out_of_memory
from fedit_shared.errors import UserError

from .protocol import RunTask, TaskFigure, TaskFigures

Progress = Callable[[int, int], None]
_ROWS = {"cpu": 1, "cuda": 8}
"""Requests at a time: the harness makes the logits of all their tokens."""


class _Model(HFLM):
    """The harness's own view of a transformers model, that tells how far it is."""

    def __init__(self, base: Base, progress: Progress) -> None:
        kind = base.device.type
        super().__init__(pretrained=base.model, tokenizer=base.tokenizer, batch_size=_ROWS[kind], device=kind)
        self._progress = progress
        self._done = self._all = 0
        self.set_cache_hook(self)

    def add_partial(self, *_: object) -> None:
        """One more request is answered: what the harness calls, of whatever keeps its answers."""
        self._done += 1
        self._progress(self._done, self._all)

    def loglikelihood(self, requests: Any, **options: Any) -> Any:
        """As the harness does it."""
        self._all += len(requests)
        return super().loglikelihood(requests, **options)

    def generate_until(self, requests: Any, **options: Any) -> Any:
        """As the harness does it."""
        self._all += len(requests)
        return super().generate_until(requests, **options)


def run_task(base: Base, request: RunTask, progress: Progress) -> TaskFigures:
    """Do ``request``: the harness's own prompts, without a chat template. Raises UserError for a task that is not known
    or whose data cannot be fetched, and lets an out-of-memory error through."""
    try:
        found = simple_evaluate(
            model=_Model(base, progress),
            tasks=[request.name],
            task_manager=TaskManager(include_path=request.include_path),
            limit=request.limit,
            bootstrap_iters=0,  # intervals are made here, paired
            log_samples=True,
        )
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise UserError(
            f"lm-evaluation-harness cannot do {request.name}: {reason_of(error)}.",
            advice="`lm-eval ls tasks` lists its tasks; their data come from the Hugging Face hub.",
        ) from error
    assert found is not None, "of other ranks only"
    figures = [
        _figure(task, metric, value, found["samples"][task])
        for task, metrics in sorted(found["results"].items())
        if task in found["samples"]
        for metric, value in metrics.items()
        if "," in metric and "_stderr," not in metric and isinstance(value, int | float)
    ]
    return TaskFigures(figures=tuple(figures))


def _figure(task: str, metric: str, value: float, samples: list[dict[str, Any]]) -> TaskFigure:
    """``metric``: NAME,FILTER, as the harness writes it."""
    name, _, chosen = metric.partition(",")
    rows = sorted((row for row in samples if row["filter"] == chosen), key=lambda row: int(row["doc_id"]))
    values = [row.get(name) for row in rows]
    if not all(isinstance(each, int | float) for each in values) or not values:
        values = []
    numbers = tuple(float(each) for each in values if each is not None)
    if numbers and not math.isclose(sum(numbers) / len(numbers), value, rel_tol=1e-6, abs_tol=1e-9):
        numbers = ()  # another aggregate than the mean: nothing to resample
    return TaskFigure(task=task, metric=name if chosen == "none" else metric, value=float(value), values=numbers)
