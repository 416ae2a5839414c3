"""The clip range of each tensor, from public data only: the training settings, then each published mean."""

import math

import numpy as np
from numpy.typing import NDArray

from fedit_shared.messages import TaskSpec, TrainingSettings
from fedit_shared.secagg.session import tensor_size

NOMINAL_RECORDS = 512
"""Records that a device is assumed to have where the task counts epochs."""
NOMINAL_STEPS = 64
"""Steps that a device is assumed to make where the task counts minutes."""
CLIPPED_TOO_OFTEN = 0.01
"""A mean fraction of clipped values beyond which every range doubles."""
HEADROOM = 2.0
"""A range's ratio to the largest value of the published mean, which single updates exceed."""
SHRINK = 4.0
"""A range falls by no more than this factor from round to round."""

SMALLEST_RANGE, LARGEST_RANGE = 1e-12, 1e12
"""A tensor that is never changed, or one that always is, stops here: ranges stay numbers that everybody can read."""


def first_ranges(task: TaskSpec) -> tuple[float, ...]:
    """Learning rate × local steps for every tensor: about as far as Adam can go."""
    return (task.training.learning_rate * _steps(task.training),) * len(task.tensors)


def next_ranges(
    task: TaskSpec, ranges: tuple[float, ...], mean: NDArray[np.floating], clipped: float
) -> tuple[float, ...]:
    """The ranges after a round that was quantized in ``ranges`` and published ``mean`` (d,), of whose values the
    fraction ``clipped`` had been clipped."""
    if clipped > CLIPPED_TOO_OFTEN:
        return tuple(min(2 * c, LARGEST_RANGE) for c in ranges)
    following, start = [], 0
    for tensor, c in zip(task.tensors, ranges, strict=True):
        size = tensor_size(tensor.shape)
        largest = float(np.abs(mean[start : start + size]).max())
        followed = min(2 * c, max(HEADROOM * largest, c / SHRINK))
        following.append(min(max(followed, SMALLEST_RANGE), LARGEST_RANGE))
        start += size
    return tuple(following)


def rounding_error(ranges: NDArray[np.float64], survivors: int, levels: int, total_weight: int) -> float:
    """Expected L2 norm of a mean's quantization error. ``ranges``: each value's clip range, (d,).

    A stochastic rounding of a uniform fraction has variance 1/6; ``survivors`` of them are summed, and the sum is
    scaled by c/(L·Σw).
    """
    return float(np.sqrt(np.square(ranges).sum() * survivors / 6) / (levels * total_weight))


def _steps(training: TrainingSettings) -> int:
    if training.steps is not None:
        return training.steps
    if training.epochs is not None:
        return max(1, math.ceil(training.epochs * NOMINAL_RECORDS / training.batch_size))
    return NOMINAL_STEPS
