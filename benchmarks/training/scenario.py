"""What is measured: the rows, and one row's result."""

from dataclasses import dataclass, field
from typing import Literal

GB = 10**9
STEPS = 20
LARGE_STEPS = 6
"""Of the 7B model, whose weights are random: its loss says nothing."""
CLAIMED_GB = 9.5
"""What a 7B model in 8 bits is to be trained in, with records of 512 tokens, at twice Shepherd's speed."""
RECORDS_PER_STEP = 4
RANK = 8
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj")
LEARNING_RATE = 3e-4
SEED = 1

System = Literal["ours", "shepherd"]
Quantized = Literal["int8", "nf4"]
QUANTIZATIONS: tuple[Quantized, ...] = ("int8", "nf4")
TOO_LATE = "not measured: the time was up"


@dataclass(frozen=True)
class Row:
    """One measurement. ``model``: ``smollm2``, or ``llama-7b`` with random weights; ``length``: tokens of every
    record; ``budget``: bytes, None where nothing limits it."""

    system: System
    model: str
    device: str
    quantization: Quantized
    length: int
    budget: int | None
    micro_batch: int = RECORDS_PER_STEP
    """Shepherd's; ours plans its own."""
    steps: int = STEPS


@dataclass
class Result:
    """``outcome``: ``done``, or the line that says why not; such a row has no figures. ``losses``: of every step, in
    nats a token. The first step, in which everything is set up, does not count for the speed."""

    row: Row
    outcome: str
    tokens_per_s: float | None = None
    peak: int | None = None
    predicted: int | None = None
    losses: list[float] = field(default_factory=list)
    plan: str = ""

    @property
    def loss(self) -> float | None:
        """Mean over the steps."""
        return sum(self.losses) / len(self.losses) if self.losses else None


def rows(device: str, steps: int) -> list[Row]:
    """In the order in which they are worth their time: on a CPU Shepherd's first, without a limit, then ours by budget,
    last in 4 bits; on CUDA a 7B-shaped Llama in 8 bits at 512 tokens, the same in 4 bits, both at 2,048, SmolLM2."""
    if device == "cpu":
        return [
            Row("shepherd", "smollm2", "cpu", "int8", 256, None, steps=steps),
            *(Row("ours", "smollm2", "cpu", "int8", 256, round(gb * GB), steps=steps) for gb in (1.2, 1.7, 2.4, 4.8)),
            Row("ours", "smollm2", "cpu", "nf4", 256, round(1.2 * GB), steps=steps),
        ]
    found = []
    fewer = min(steps, LARGE_STEPS)
    for length in (512, 2048):
        for quantization in QUANTIZATIONS:
            theirs = [Row("shepherd", "llama-7b", "cuda", "int8", length, None, micro, fewer) for micro in (4, 1)]
            budgets: tuple[float, ...] = (8.0, 12.0, 16.0, 24.0)
            if (quantization, length) == ("int8", 512):
                budgets = (CLAIMED_GB, *budgets)
            ours = [
                Row("ours", "llama-7b", "cuda", quantization, length, round(gb * GB), steps=fewer) for gb in budgets
            ]
            found += [ours[0], *theirs, *ours[1:]] if quantization == "int8" else ours
    for length in (512, 2048):
        found.append(Row("shepherd", "smollm2", "cuda", "int8", length, None, steps=steps))
        found.append(Row("ours", "smollm2", "cuda", "int8", length, 8 * GB, steps=steps))
    return found
