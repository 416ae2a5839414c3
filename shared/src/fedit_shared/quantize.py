"""From a float vector to slots that can be summed under a mask, and from the sums back to the mean.

Each value x with clip range c becomes floor(x·w·L/c + u) + w·L, u uniform in [0, 1): a stochastic rounding of the
*weighted* value, so that precision grows with the weight. A tensor that would not fit into its range is scaled down
first. Three more slots carry the weight, the loss and the fraction
clipped under the same bound, 0 ≤ slot ≤ 2·w·L. See ``docs/protocol.md``, "Quantization".
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import SumError, UserError

from .compiled import constant
from .parameters import DEGREE, EDGE_SHARE, EXTRA_SLOTS, LAYOUTS, LOSS_CEILING, RECORDS_PER_WEIGHT
from .rounding import mean_values, quantize_rows, size_at, split_rows, survey


@dataclass(frozen=True)
class Quantizer:
    """The quantization that a session fixes: tensors' sizes and clip ranges, bits of a slot, L and W."""

    sizes: tuple[int, ...]
    clip: tuple[float, ...]
    slot_bits: int
    levels: int
    max_weight: int

    @property
    def dimension(self) -> int:
        """d: values of the vector."""
        return sum(self.sizes)

    @property
    def row_slots(self) -> int:
        """Slots of one ring element."""
        return DEGREE * LAYOUTS[self.slot_bits]

    def weight(self, examples: int) -> int:
        """w = min(W, ⌈examples / 32⌉), at least 1."""
        return max(1, min(self.max_weight, -(-examples // RECORDS_PER_WEIGHT)))

    def prepare(self, delta: NDArray[np.float32], examples: int, loss: float) -> "Quantized":
        """``delta`` float32 (d,), checked. Raises UserError if it has another size or is not finite.

        The server chooses the ranges. Where nearly all values of a tensor lay beyond a tiny one, each device would
        send ±w for the sign of each value, and from the sum of such numbers all signs can be read. So a tensor of
        which more than one value in EDGE_SHARE lies outside is scaled down until no more do.
        """
        if delta.shape != (self.dimension,) or delta.dtype != np.float32:
            raise UserError(
                f"The update is {delta.dtype} {delta.shape}, the task aggregates float32 ({self.dimension},).",
                advice="Delete the training result in the state folder and train again.",
            )
        bounds = np.concatenate([[0], np.cumsum(self.sizes)]).astype(np.int64)
        clip = np.array(self.clip, np.float64)
        delta = constant(delta)
        finite, outside = survey(delta, bounds, clip)
        if not (finite and np.isfinite(loss) and examples > 0):
            raise UserError(
                "The update is not finite: training diverged.",
                advice="Nothing was sent. Look for broken records in the data; else the learning rate is too high.",
            )
        weight = self.weight(examples)
        limit = weight * self.levels
        clipped = int(outside.sum()) / self.dimension
        extras = np.array([weight, 2 * limit * min(max(loss, 0.0), LOSS_CEILING) / LOSS_CEILING, 2 * limit * clipped])
        for tensor in np.flatnonzero(outside > np.diff(bounds) // EDGE_SHARE):
            clip[tensor] = _edge(delta[bounds[tensor] : bounds[tensor + 1]])
        return Quantized(self, delta, bounds, limit / clip, limit, extras, clipped)


def _edge(values: NDArray[np.float32]) -> float:
    """The largest size of a value that is not among the first ⌊size/EDGE_SHARE⌋."""
    place = values.size - 1 - values.size // EDGE_SHARE
    return float(np.uint32(size_at(values.view(np.uint32), place)).view(np.float32))


@dataclass(frozen=True)
class Quantized:
    """A checked vector, ready to be rounded row by row. ``limit`` = w·L."""

    quantizer: Quantizer
    delta: NDArray[np.float32]
    bounds: NDArray[np.int64]
    scale: NDArray[np.float64]
    limit: int
    extras: NDArray[np.float64]
    clipped: float

    def rows(self, first: int, words: NDArray[np.uint32], out: NDArray[np.uint64]) -> None:
        """Messages M of rows ``first``…: ``words`` uint32 (rows, N·m) make the roundings, ``out`` uint64 (rows, N)."""
        bits = self.quantizer.slot_bits
        quantize_rows(
            self.delta, first, self.bounds, self.scale, self.limit, self.extras, bits, LAYOUTS[bits], words, out
        )


@dataclass(frozen=True)
class Totals:
    """A cohort's result but for the vector. ``total_weight``: Σw; ``loss`` and ``clipped``: weighted means;
    ``survivors``: |U|."""

    total_weight: int
    loss: float
    clipped: float
    survivors: int


@dataclass(frozen=True)
class Mean(Totals):
    """A cohort's result. ``delta``: float32 (d,), the weighted mean update."""

    delta: NDArray[np.float32]


def read_slots(
    quantizer: Quantizer, first: int, messages: NDArray[np.uint64], out: NDArray[np.unsignedinteger]
) -> bool:
    """Slots of rows ``first``… of ΣM, uint64 (rows, N), into their places in ``out`` (d + 3,); whether padding is 0."""
    return bool(split_rows(messages, first, quantizer.slot_bits, LAYOUTS[quantizer.slot_bits], out))


def read_totals(quantizer: Quantizer, slots: NDArray[np.unsignedinteger], survivors: int) -> Totals:
    """The last slots of sums over ``survivors`` devices, ``slots`` (d + 3,), once all slots are within bounds.

    Raises SumError unless |U| ≤ Σw ≤ |U|·W and every sum is at most 2L·Σw: so nobody can move the published mean
    outside ±c.
    """
    weight, loss, clipped = (int(value) for value in slots[-EXTRA_SLOTS:])
    ceiling = 2 * quantizer.levels * weight
    if not survivors <= weight <= survivors * quantizer.max_weight:
        raise SumError(f"The weights of {survivors} survivors cannot sum to {weight}.")
    if int(slots[:-EXTRA_SLOTS].max(initial=0)) > ceiling or max(loss, clipped) > ceiling:
        raise SumError("A sum lies beyond what valid updates can give: somebody sent values out of range.")
    return Totals(weight, LOSS_CEILING * loss / ceiling, clipped / ceiling, survivors)


def read_mean(quantizer: Quantizer, slots: NDArray[np.unsignedinteger], survivors: int) -> Mean:
    """Mean = c/L·(Σslot − L·Σw)/Σw, from slots as :func:`read_totals` takes them, with its errors."""
    totals = read_totals(quantizer, slots, survivors)
    slots = constant(slots)
    offset = quantizer.levels * totals.total_weight
    delta = np.empty(quantizer.dimension, np.float32)
    start = 0
    for size, c in zip(quantizer.sizes, quantizer.clip, strict=True):
        end = start + size
        mean_values(slots[start:end], float(offset), c / offset, delta[start:end])
        start = end
    return Mean(totals.total_weight, totals.loss, totals.clipped, totals.survivors, delta)
