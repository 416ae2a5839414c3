"""Charts as plain geometry, for a template to draw as SVG: numbers only, and no text of anybody's.

The picture is 360 by 170 units, so that its letters can be read where it is 300 pixels wide.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

WIDTH, HEIGHT = 360, 170
LEFT, RIGHT, TOP, BOTTOM = 56, 8, 10, 24
_MOST_DOTS = 60
_FINEST = 1e-3
"""The grid's lines differ by so much of the largest value at least: a label has no more digits than fit beside it."""
_WIDEST = 8
"""Characters that fit beside the chart."""
_UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""), (1e-3, "m"), (1e-6, "µ"), (1e-9, "n"))
_STEPS = (1.0, 2.0, 2.5, 5.0, 10.0)


class Point(NamedTuple):
    """A round and its value; None where it has none."""

    round: int
    value: float | None


class Tick(NamedTuple):
    """A line of the grid: where, and what it says."""

    at: float
    label: str


class Dot(NamedTuple):
    """A point of the line, or the top of a bar ``height`` high."""

    x: float
    y: float
    height: float
    point: Point


class Chart(NamedTuple):
    """``line``: the data of an SVG path; it has gaps where values have. ``bar``: how wide a bar is."""

    line: str
    dots: list[Dot]
    bar: float
    across: list[Tick]
    along: list[Tick]


def chart(points: Sequence[Point], *, from_zero: bool = False) -> Chart | None:
    """A chart of the values over the rounds, evenly spaced however their numbers are; None without any value."""
    points = [Point(p.round, p.value if p.value is not None and math.isfinite(p.value) else None) for p in points]
    values = [point.value for point in points if point.value is not None]
    if not values:
        return None
    across = _ticks(0.0 if from_zero else min(values), max(values))
    low, high = across[0], across[-1]
    inner, base = HEIGHT - TOP - BOTTOM, HEIGHT - BOTTOM
    step = (WIDTH - LEFT - RIGHT) / len(points)
    dots: list[Dot] = []
    path: list[str] = []
    pen_down = False
    for i, point in enumerate(points):
        if point.value is None:
            pen_down = False
            continue
        x = round(LEFT + (i + 0.5) * step, 1)
        y = round(base - (point.value - low) / (high - low) * inner, 1)
        path.append(f"{'L' if pen_down else 'M'}{x} {y}")
        pen_down = True
        dots.append(Dot(x, y, round(base - y, 1), point))
    return Chart(
        line=" ".join(path),
        dots=dots,
        bar=round(step * 0.7, 1),
        across=[
            Tick(round(base - (at - low) / (high - low) * inner, 1), label)
            for at, label in zip(across, _labels(across), strict=True)
        ],
        along=[
            Tick(round(LEFT + (i + 0.5) * step, 1), str(points[i].round))
            for i in sorted({0, len(points) // 2, len(points) - 1})
        ],
    )


def has_dots(drawn: Chart) -> bool:
    """Whether there is room for a dot on each point of the line."""
    return len(drawn.dots) <= _MOST_DOTS


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at most ``low`` to at least ``high``, some four of them."""
    spread = max(high - low, _FINEST * max(abs(low), abs(high))) if low < high else abs(high) or 1.0
    rough = spread / 3
    unit = 10.0 ** math.floor(math.log10(rough))
    step = next(unit * factor for factor in _STEPS if unit * factor >= rough * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    if first == last:
        last += 1
    return [i * step for i in range(first, last + 1)]


def _labels(ticks: Sequence[float]) -> list[str]:
    """All in one unit, with as many digits as tell neighbours apart."""
    largest, step = max(map(abs, ticks)), ticks[1] - ticks[0]
    if not _UNITS[-1][0] <= largest < 1e3 * _UNITS[0][0]:
        return ["0" if abs(at) < step / 2 else f"{at:.3g}" for at in ticks]
    if largest < 1e-2 and (small := _small(ticks)) is not None:
        return small
    if 1e-2 <= largest < 1e4:
        bound, unit = 1.0, ""
    else:
        bound, unit = next(each for each in _UNITS if largest >= each[0])
    digits = next(n for n in range(9) if math.isclose(round(step / bound, n), step / bound, rel_tol=1e-6))
    return ["0" if abs(at) < step / 2 else f"{at / bound:.{digits}f}{unit}" for at in ticks]


def _small(ticks: Sequence[float]) -> list[str] | None:
    """As the tables write such numbers; None where that is too wide to tell neighbours apart."""
    largest, step = max(map(abs, ticks)), ticks[1] - ticks[0]
    form = "f" if largest >= 1e-4 else "e"
    for digits in range(_WIDEST):
        labels = ["0" if abs(at) < step / 2 else f"{at:.{digits}{form}}" for at in ticks]
        if max(map(len, labels)) > _WIDEST:
            break
        if all(math.isclose(float(label), at, abs_tol=1e-7 * step) for label, at in zip(labels, ticks, strict=True)):
            return labels
    return None
