"""Three figures, each as PNG and SVG: gain by round, gain by category, who holds what. Needs matplotlib.

Gains are over the base model and paired by record, since a record is hard for every arm: the interval of a loss is many
times as wide as that of a difference. Colours are those of Okabe and Ito, which colour-blind people tell apart; arms
differ in their markers too.
"""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from edge_client.evaluation.statistics import Draws, Interval
from fedit_shared.errors import UserError

from .journal import BASE, CENTRALIZED, FEDERATED, Entry, Header, Judged
from .report import last_judged, loss_of

try:
    from matplotlib import rc_context
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise UserError("Plots need matplotlib.", advice="Run: pip install 'matplotlib>=3.10'") from error

_FEW = 40
"""Clients that stand in the order of their numbers."""
_WRITTEN = 15
"""Clients whose records are written into their cells."""
_DPI = 144
_RESAMPLES, _SEED = 1000, 1
_FEDERATED = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_GREY, _BLACK = "0.45", "black"


class _Style(NamedTuple):
    color: str
    marker: str
    line: str
    width: float


def plot(header: Header, entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Draw all figures into ``folder``; the files. Those about gains only where the base model was judged."""
    made = []
    for name, figure in draw(header, entries).items():
        FigureCanvasAgg(figure).print_png(png := folder / f"{name}.png")
        made += [png, _svg(name, figure, folder / f"{name}.svg")]
    return made


def illustrate(header: Header, entries: Sequence[Entry], files: Mapping[str, Path]) -> list[Path]:
    """Draw the figures of these names as SVG; the files."""
    figures = draw(header, entries)
    return [_svg(name, figures[name], file) for name, file in files.items()]


def _svg(name: str, figure: Figure, file: Path) -> Path:
    with rc_context({"svg.hashsalt": name}):  # the same results give the same file
        FigureCanvasSVG(figure).print_svg(file, metadata={"Date": None})
    return file


def draw(header: Header, entries: Sequence[Entry]) -> dict[str, Figure]:
    """Name → figure."""
    figures = {"who-holds-what": _holdings(header)}
    if BASE in last_judged(entries):
        figures |= {"loss-by-round": _by_round(header, entries), "loss-by-category": _by_category(header, entries)}
    return figures


def _styles(arms: Sequence[str]) -> dict[str, _Style]:
    """Federations in colour, centralized in black, who trains alone in grey."""
    colours, markers, alone = cycle(_FEDERATED), cycle("osD^vP"), cycle("x+1234")
    styles = {}
    for arm in arms:
        if arm.startswith(FEDERATED):
            styles[arm] = _Style(next(colours), next(markers), "-", 2.2 if arm == FEDERATED else 1.5)
        elif arm == CENTRALIZED:
            styles[arm] = _Style(_BLACK, "*", "--", 1.5)
        else:
            styles[arm] = _Style(_GREY, next(alone), ":", 1.2)
    return styles


def _gain(base: Judged, own: Judged, chosen: NDArray[np.bool_] | slice = slice(None)) -> Interval:
    """How far below the base model's the loss is, over the chosen records."""
    before, after = (np.array(judged.losses)[chosen].tolist() for judged in (base, own))
    tokens = np.array(own.tokens)[chosen].tolist()
    if not any(tokens):
        return Interval(np.nan, np.nan, np.nan)
    return Draws(len(tokens), _RESAMPLES, _SEED).difference(before, after, tokens)


def _by_round(header: Header, entries: Sequence[Entry]) -> Figure:
    figure = Figure(figsize=(9, 5), dpi=_DPI, layout="constrained")
    axes: Axes = figure.subplots()
    arms = [arm for arm in last_judged(entries) if arm != BASE]
    [base] = [entry.judged for entry in entries if entry.arm == BASE and entry.judged is not None]
    for arm, style in _styles(arms).items():
        judged = {e.round: e.judged for e in entries if e.arm == arm and e.judged is not None}
        gains = {0: Interval(0.0, 0.0, 0.0)} | {number: _gain(base, judged[number]) for number in sorted(judged)}
        low, high = [gain.low for gain in gains.values()], [gain.high for gain in gains.values()]
        axes.fill_between(list(gains), low, high, color=style.color, alpha=0.15, linewidth=0)
        axes.plot(
            list(gains),
            [gain.value for gain in gains.values()],
            color=style.color,
            marker=style.marker,
            linestyle=style.line,
            linewidth=style.width,
            markersize=6,
            label=arm,
        )
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(axis="y", color="0.9")
    axes.set(xlabel="round (every arm has seen as many tokens)", ylabel="loss below the base model's, nats a token")
    axes.set_title(f"{header.name}: held-out loss, base model {loss_of(base):.3f}; bands: 95 %, paired by record")
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _by_category(header: Header, entries: Sequence[Entry]) -> Figure:
    last = {arm: entry.judged for arm, entry in last_judged(entries).items() if entry.judged is not None}
    base, categories = last.pop(BASE), np.array(header.categories)
    names = sorted(set(header.categories))
    each = 0.8 / max(1, len(last))
    figure = Figure(figsize=(9, 1.6 + len(names) * (0.15 + 0.09 * len(last))), dpi=_DPI, layout="constrained")
    axes: Axes = figure.subplots()
    for place, (arm, style) in enumerate(_styles(list(last)).items()):
        gains = [_gain(base, last[arm], categories == name) for name in names]
        value = np.array([gain.value for gain in gains])
        axes.errorbar(
            value,
            np.arange(len(names)) - 0.4 + (place + 0.5) * each,
            xerr=[value - [gain.low for gain in gains], [gain.high for gain in gains] - value],
            color=style.color,
            marker=style.marker,
            linestyle="none",
            markersize=6,
            elinewidth=1.2,
            label=arm,
        )
    for line in range(len(names) - 1):
        axes.axhline(line + 0.5, color="0.9", linewidth=0.8)
    axes.axvline(0, color="0.3", linewidth=0.8)
    axes.grid(axis="x", color="0.9")
    losses = [loss_of(_part(base, categories == name)) for name in names]
    labels = [f"{name.replace('_', ' ')}\nbase {loss:.2f}" for name, loss in zip(names, losses, strict=True)]
    axes.set_yticks(np.arange(len(names)), labels)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set(
        xlabel="loss below the base model's, nats a token",
        title=f"{header.name}: held-out loss by category; bars: 95 %, paired by record",
    )
    figure.legend(loc="outside right upper", frameon=False)
    return figure


def _part(judged: Judged, chosen: NDArray[np.bool_]) -> Judged:
    losses, tokens = np.array(judged.losses)[chosen], np.array(judged.tokens)[chosen]
    return Judged(losses=tuple(losses.tolist()), tokens=tuple(tokens.tolist()))


def _holdings(header: Header) -> Figure:
    """Above, how many records a client has; below, which share of them is of each category."""
    categories = sorted({category for own in header.holdings for category in own})
    counts = np.array([[own.get(category, 0) for category in categories] for own in header.holdings])
    order = np.arange(len(counts))
    if many := len(counts) > _FEW:
        order = np.lexsort((-counts.max(axis=1) / counts.sum(axis=1), counts.argmax(axis=1)))
    counts = counts[order]
    figure = Figure(figsize=(9, 2.6 + 0.32 * len(categories)), dpi=_DPI, layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1.6))
    above.bar(np.arange(len(counts)), counts.sum(axis=1), 1.0 if many else 0.85, color=_FEDERATED[0])
    above.set(ylabel="records", title=f"{header.name}: who holds what; heterogeneity {header.heterogeneity:.2f}")
    shares = counts / counts.sum(axis=1, keepdims=True)
    image = below.imshow(shares.T, aspect="auto", cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    if len(counts) <= _WRITTEN:
        for client, category in zip(*np.nonzero(counts), strict=True):
            colour = "white" if shares[client, category] > 0.55 else "black"
            below.text(client, category, counts[client, category], ha="center", va="center", color=colour, fontsize=8)
    below.set_yticks(np.arange(len(categories)), [category.replace("_", " ") for category in categories])
    below.set_xticks([] if many else np.arange(len(counts)), [] if many else list(map(str, order)), fontsize=8)
    below.set(xlabel=f"{len(counts)} clients, sorted by what they hold most of" if many else "client")
    figure.colorbar(image, ax=below, label="share")
    return figure
