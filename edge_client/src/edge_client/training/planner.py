"""How the task is done within the budget: quantization, micro-batch, which layers' activations are computed again.

Every way is priced in bytes (:mod:`.footprint`) and in time; the fastest that fits is taken, of the first quantization
that fits at all. Batch, records and their lengths stay the task's: no choice changes the mathematics, but for what
quantization and an optimizer state in 8 bits round.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from fedit_shared.messages.task import Quantization

from .failures import NoRoomError
from .footprint import Line, Way, Work, loading, mapped_share, peak, table
from .sizes import gib

OVERHEAD_TOKENS = {False: 100, True: 1024}
"""What a pass costs before its first token, in tokens, on a CPU and on CUDA: launching, and widening every weight.
Passes of 256 and 1,024 tokens took 0.88 and 2.91 s of processor time on two cores."""
AGAIN = 0.5
"""Time that computing all layers' activations again adds: forward and backward take about as long as each other."""
SHARE = 0.95
"""Of a budget is planned with: a prediction may be 4 % too low, and Linux's cap also counts what is never touched."""
POOLED = 0.975
"""Times SHARE, where freed memory is kept: Linux's cap counts gaps in it that are not resident."""
NARROW = 1.05
"""Times the time that an optimizer state in 8 bits takes: it rounds, so it must win more than SLOWER to be taken."""
TIGHT = 0.5
"""Time that handing all activations' memory back at once adds: the kernel clears each page anew."""
WORTH = 0.05
"""Of a way's peak that another one must save to be thought of: below that a smaller plan is worth no change, and an
8-bit optimizer state, of a small adapter, no rounding."""
SLOWER = 1.03
"""Times the fastest way's time: of ways as fast as that, the one that needs least is taken."""
_SHARES = 4
"""Layers are computed again in quarters of all."""


@dataclass(frozen=True)
class Planning:
    """The plan: ``way``, its ``lines`` and their sum; ``reason``; and the nearest ways that need less and more."""

    way: Way
    lines: tuple[Line, ...]
    peak: int
    reason: str
    smaller: "Option | None"
    larger: "Option | None"


@dataclass(frozen=True)
class Option:
    """A way not taken. ``speed``: of the plan's, estimated."""

    way: Way
    peak: int
    speed: float

    @property
    def budget(self) -> int:
        """The least budget that it is taken in."""
        return budget_for(self.peak, pooled=self.way.pooled)


def make_plan(
    work: Work, budget: int, allowed: Sequence[Quantization], batch_size: int, before: Way | None = None
) -> Planning:
    """The fastest way within ``budget`` bytes, of the first of ``allowed`` that fits; or ``before``, in which the work
    was begun, if that fits still: the result is then the same to the bit. Raises NoRoomError, which says what would
    fit, if none does."""
    if before is not None and before.quantization in allowed:
        begun = Option(before, _need(work, before), 1.0)
        if begun.budget <= budget:
            return Planning(before, _lines(work, before), begun.peak, "it was begun in this way", None, None)
    for place, quantization in enumerate(allowed):
        ways = list(_ways(work, quantization, batch_size))
        fitting = [option for option in ways if option.budget <= budget]
        if not fitting:
            continue
        fastest = min(option.speed for option in fitting)
        best = min((o for o in fitting if o.speed <= SLOWER * fastest), key=lambda o: (o.peak, o.speed))
        ways += [option for other in allowed[place + 1 :] for option in _ways(work, other, batch_size)]
        return Planning(
            way=best.way,
            lines=_lines(work, best.way),
            peak=best.peak,
            reason=_reason(work, best.way, batch_size, allowed[:place]),
            smaller=_relative(best, _below(best, ways)),
            larger=_relative(best, _above(best, ways)),
        )
    raise NoRoomError(_too_little(work, budget, allowed), advice=_what_fits(work, budget, allowed, batch_size))


def budget_for(need: int, *, pooled: bool = False) -> int:
    """The least budget, in bytes, that holds a predicted ``need``."""
    return math.ceil(need / (SHARE * POOLED if pooled else SHARE))


def smallest(work: Work, allowed: Sequence[Quantization], batch_size: int) -> Option:
    """The way that needs least."""
    return min(
        (option for quantization in allowed for option in _ways(work, quantization, batch_size)),
        key=lambda option: option.peak,
    )


def longest_that_fits(work: Work, budget: int, allowed: Sequence[Quantization]) -> int:
    """Tokens of the longest record that could be trained on within ``budget``; 0: none."""
    low, high = 0, work.length
    while low < high:
        middle = (low + high + 1) // 2
        fits = smallest(_with_length(work, middle), allowed, 1).budget <= budget
        low, high = (middle, high) if fits else (low, middle - 1)
    return low


def describe(work: Work, way: Way) -> str:
    """``way`` in words."""
    records = "1 record" if way.micro_batch == 1 else f"{way.micro_batch} records"
    names = {"int8": "8 bits", "nf4": "4 bits (nf4)", "none": "no quantization"}
    if not way.recomputed:
        again = "activations kept"
    elif way.recomputed == work.shape.layers:
        again = "all activations computed again"
    else:
        again = f"activations of {way.recomputed} of {work.shape.layers} layers computed again"
    pooled = ", freed memory kept" if way.pooled else ""
    state = ", optimizer state in 8 bits" if way.optimizer_bits == 8 else ""
    return f"{names[way.quantization]}, {records} of up to {work.length} tokens at a time, {again}{pooled}{state}"


def alternatives(work: Work, planning: Planning) -> tuple[str, ...]:
    """The ways that need less and more, in words, a line each, with what is used, to be held against the plan's peak,
    and the budget that it takes; ``planning`` is of ``work``."""
    options = (("Less", planning.smaller), ("More", planning.larger))
    return tuple(
        f"{name}: {gib(option.peak)} used, within {gib(option.budget)}; {option.speed:.2f} times the speed: "
        f"{describe(work, option.way)}."
        for name, option in options
        if option is not None
    )


def _ways(work: Work, quantization: Quantization, batch_size: int) -> Iterator[Option]:
    """Every way with ``quantization``; an option's speed is its time for a step here, in tokens."""
    layers = work.shape.layers
    for micro_batch in sorted({-(-batch_size // pieces) for pieces in range(1, batch_size + 1)}):
        pieces = -(-batch_size // micro_batch)
        for recomputed in sorted({layers * part // _SHARES for part in range(_SHARES + 1)}):
            tokens = pieces * OVERHEAD_TOKENS[work.cuda] + batch_size * work.length
            time = tokens * (1 + AGAIN * recomputed / layers)
            way = Way(quantization, micro_batch, recomputed)
            for held, slower in _allocations(work, way):
                need = _need(work, held)
                yield Option(held, need, time * slower)
                narrow = replace(held, optimizer_bits=8)
                less = _need(work, narrow)
                if less < (1 - WORTH) * need:
                    yield Option(narrow, less, time * slower * NARROW)


def _allocations(work: Work, way: Way) -> list[tuple[Way, float]]:
    """``way`` with freed memory kept and handed back, and the factor on its time."""
    share = 0.0 if work.cuda else mapped_share(work, way)
    return [(replace(way, pooled=True), 1.0), (way, 1 + TIGHT * share)] if share else [(way, 1.0)]


def _need(work: Work, way: Way) -> int:
    return max(loading(work, way.quantization), peak(work, way))


def _lines(work: Work, way: Way) -> tuple[Line, ...]:
    """The table, up to the peak of loading where that is higher."""
    lines = table(work, way)
    more = _need(work, way) - peak(work, way)
    if more:
        lines.append(Line("loading: one tensor in full precision beside it, more than training", more))
    return tuple(lines)


def _below(best: Option, ways: Sequence[Option]) -> Option | None:
    """The fastest that is worth less speed: a twentieth of the memory is free."""
    return max((o for o in ways if o.peak <= (1 - WORTH) * best.peak), key=lambda o: (-o.speed, o.peak), default=None)


def _above(best: Option, ways: Sequence[Option]) -> Option | None:
    """The least that is worth more memory: a twentieth faster."""
    faster = (o for o in ways if o.peak > best.peak and o.speed < 0.95 * best.speed)
    return min(faster, key=lambda o: o.peak, default=None)


def _relative(best: Option, other: Option | None) -> Option | None:
    return None if other is None else Option(other.way, other.peak, best.speed / other.speed)


def _with_length(work: Work, length: int) -> Work:
    return replace(work, length=length)


def _reason(work: Work, way: Way, batch_size: int, refused: Sequence[Quantization]) -> str:
    parts = [f"{quantization} does not fit" for quantization in refused]
    if way.micro_batch == batch_size and not way.recomputed:
        parts.append("the whole batch fits at once with all activations")
    elif not way.recomputed:
        parts.append(f"of {batch_size} records a step, {way.micro_batch} fit at a time with all activations")
    else:
        parts.append(
            "computing activations again is faster than smaller pieces"
            if way.micro_batch > 1
            else "one record fits only if activations are computed again"
        )
    if way.optimizer_bits == 8:
        parts.append("the optimizer's state in 8 bits leaves room for that")
    return "; ".join(parts)


def _too_little(work: Work, budget: int, allowed: Sequence[Quantization]) -> str:
    least = min(loading(work, quantization) for quantization in allowed)
    if budget_for(least) > budget:
        return f"The model does not fit into {gib(budget)}: loading it alone needs {gib(budget_for(least))}."
    return f"One record of {work.length} tokens does not fit into {gib(budget)}."


def _what_fits(work: Work, budget: int, allowed: Sequence[Quantization], batch_size: int) -> str:
    least = smallest(work, allowed, batch_size)
    advice = f"It fits into {gib(least.budget)}: {describe(work, least.way)}."
    length = longest_that_fits(work, budget, allowed)
    if length >= 16:
        advice += f" Records of up to {length} tokens would fit as it is."
    if "nf4" not in allowed:
        four = smallest(work, ("nf4",), batch_size)
        if four.peak < 0.9 * least.peak:
            advice += f" In 4 bits it would need {gib(four.budget)}, which the federation does not allow."
    return advice
