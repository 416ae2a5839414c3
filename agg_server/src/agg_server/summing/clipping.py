"""The clip range of each tensor, from public data only: the training settings, then each published mean."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedit_shared.messages import TaskSpec, TrainingSettings
from fedit_shared.quantize import Quantizer
from fedit_shared.strategies import Turn

NOMINAL_RECORDS = 512
"""Records that a device is assumed to have where the task counts epochs."""
NOMINAL_STEPS = 64
"""Steps that a device is assumed to make where the task counts minutes."""
CLIPPED_TOO_OFTEN = 0.01
"""A mean fraction of clipped values beyond which every range doubles, on top of what one device can have reported."""
CLIPPED_SELDOM = 0.0001
"""A fraction below which ranges may fall: between the two they stay, so that they settle."""
HEADROOM = 2.0
"""A range's ratio to the largest value of the published mean, which single updates exceed."""
SHRINK = math.sqrt(2)
"""A range falls by no more than this factor from round to round: of normally distributed values that reach to 3.9 σ,
0.6 % then lie outside."""

GROWTH = 16.0
"""No range grows beyond so many times the first ones: there is room for devices that make sixteen times the steps which
those assume (8,192 records an epoch) and move a value the same way with each. AdamW's single step, about a learning
rate, is never more than √10 of them (Kingma & Ba, arXiv:1412.6980, 2.1)."""
SMALLEST_RANGE, LARGEST_RANGE = 1e-12, 1e12
"""What the settings may fix; a tensor that is never changed stops at the first."""


def first_ranges(task: TaskSpec) -> tuple[float, ...]:
    """The range that every tensor begins with."""
    return (first_range(task.training),) * len(task.tensors)


def first_range(training: TrainingSettings) -> float:
    """Learning rate × local steps: about as far as Adam can go."""
    return training.learning_rate * _steps(training)


def widest_range(task: TaskSpec) -> float:
    """What no range that follows the published means exceeds, in no round of this task."""
    return GROWTH * max(first_ranges(task))


def lone_share(survivors: int, total_weight: int, max_weight: int) -> float:
    """The largest share of a published mean that one of so many devices can have: a weight is 1 to ``max_weight``."""
    return min(max_weight, total_weight - (survivors - 1)) / total_weight


def next_ranges(
    task: TaskSpec, turn: Turn, ranges: tuple[float, ...], mean: NDArray[np.floating], clipped: float, lone: float
) -> tuple[float, ...]:
    """The ranges, one for each tensor, after a round that was quantized in ``ranges`` and published ``mean`` (d,), of
    whose values the fraction ``clipped`` had been clipped. That of a tensor that was not summed waits for its turn.

    A range grows only where the others' part of what was published asks for it, even if one device, of the largest
    share that is possible (``lone``: :func:`lone_share`), has sent ±c and a fraction of 1.
    """
    summed, most = turn.pick(ranges), widest_range(task)
    if clipped > CLIPPED_TOO_OFTEN + lone:
        return turn.replaced(ranges, [min(2 * c, most) for c in summed])
    shrink = SHRINK if clipped < CLIPPED_SELDOM else 1.0
    following, start = [], 0
    for size, c in zip(turn.pick(turn.sizes), summed, strict=True):
        values = mean[start : start + size]
        largest = float(max(values.max(), -values.min()))
        asked_by_others = largest > (lone + (1 - lone) / HEADROOM) * c
        followed = min(2 * c if asked_by_others else c, max(HEADROOM * largest, c / shrink))
        following.append(min(max(followed, SMALLEST_RANGE), most))
        start += size
    return turn.replaced(ranges, following)


def rounding_error(quantizer: Quantizer, survivors: int, total_weight: int) -> float:
    """Expected L2 norm of what quantization adds to a cohort's mean: √(n/6 · Σc²) / (L·Σw), over all d values.

    Rounding a weighted value x·w·L/c up with the probability of its fraction f errs by 0 in the mean, with variance
    f(1 − f). Over an f uniform in [0, 1), as it is where values spread over some levels, that is ∫f(1 − f) df = 1/6
    (never more than 1/4). ``survivors`` (n) such errors are independent and add up; the sum is scaled by c/(L·Σw).
    What clipping takes away is not in it. All of this is public: no update is looked at.
    """
    squares = sum(size * c * c for size, c in zip(quantizer.sizes, quantizer.clip, strict=True))
    return math.sqrt(squares * survivors / 6) / (quantizer.levels * total_weight)


def combined_error(cohorts: Iterable[tuple[float, int]]) -> float:
    """The error of a mean over cohorts, from each one's (:func:`rounding_error`, Σw): they are independent."""
    pairs = list(cohorts)
    return math.hypot(*(error * weight for error, weight in pairs)) / sum(weight for _, weight in pairs)


def _steps(training: TrainingSettings) -> int:
    if training.steps is not None:
        return training.steps
    if training.epochs is not None:
        return max(1, math.ceil(training.epochs * NOMINAL_RECORDS / training.batch_size))
    return NOMINAL_STEPS
