"""Three figures, each as PNG and SVG: loss by round, loss by category, who holds what. Needs matplotlib."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fedit_shared.errors import UserError

from .journal import BASE, FEDERATED, Entry, Header
from .report import by_category, last_judged, loss_of

try:
    from matplotlib.axes import Axes
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator
except ModuleNotFoundError as error:
    raise UserError("Plots need matplotlib.", advice="Run: pip install 'matplotlib>=3.10'") from error

_FEW = 40
"""Clients that are named one by one."""


def plot(header: Header, entries: Sequence[Entry], folder: Path) -> list[Path]:
    """Draw all figures into ``folder``; the files."""
    made = []
    for name, size, draw in (
        ("loss-by-round", (7, 4.5), _by_round),
        ("loss-by-category", (9, 4.5), _by_category),
        ("who-holds-what", (9, 4.5), _holdings),
    ):
        figure = Figure(figsize=size, layout="constrained")
        draw(figure.subplots(), header, entries)
        made += [_save(FigureCanvasAgg(figure), folder / f"{name}.png"), folder / f"{name}.svg"]
        _save(FigureCanvasSVG(figure), folder / f"{name}.svg")
    return made


def _save(canvas: FigureCanvasAgg | FigureCanvasSVG, path: Path) -> Path:
    if isinstance(canvas, FigureCanvasSVG):
        canvas.print_svg(path, metadata={"Date": None})  # the same results give the same file
    else:
        canvas.print_png(path)
    return path


def _by_round(axes: Axes, header: Header, entries: Sequence[Entry]) -> None:
    start = _losses(entries, BASE)
    for name in last_judged(entries):
        if name != BASE:
            losses = start | _losses(entries, name)
            wide = 2.4 if name == FEDERATED else 1.4
            axes.plot(list(losses), list(losses.values()), marker="o", linewidth=wide, markersize=4, label=name)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="round (every arm has seen as many tokens)", ylabel="held-out loss, nats a token")
    axes.set_title(f"{header.name}; round 0 is the base model")
    axes.legend()


def _losses(entries: Sequence[Entry], arm: str) -> dict[int, float]:
    """Round → loss."""
    return {entry.round: loss_of(entry.judged) for entry in entries if entry.arm == arm and entry.judged is not None}


def _by_category(axes: Axes, header: Header, entries: Sequence[Entry]) -> None:
    losses = {
        name: by_category(entry.judged, header.categories)
        for name, entry in last_judged(entries).items()
        if entry.judged is not None
    }
    base = losses.pop(BASE)
    width = 0.8 / max(1, len(losses))
    for place, (arm, own) in enumerate(losses.items()):
        at = np.arange(len(base)) + (place - (len(losses) - 1) / 2) * width
        axes.bar(at, [base[category] - loss for category, loss in own.items()], width, label=arm)
    names = [f"{name.replace('_', ' ')}\n{loss:.2f}" for name, loss in base.items()]
    axes.axhline(0, color="0.3", linewidth=0.8)
    axes.set_xticks(np.arange(len(base)), names, rotation=20, ha="right")
    axes.set(
        ylabel="loss below the base model's, nats a token", title=f"{header.name}; below each category, the base's"
    )
    axes.legend(fontsize="small", bbox_to_anchor=(1.0, 1.0), loc="upper left")


def _holdings(axes: Axes, header: Header, entries: Sequence[Entry]) -> None:
    categories = sorted({category for own in header.holdings for category in own})
    below = np.zeros(len(header.holdings))
    at = np.arange(len(header.holdings))
    for category in categories:
        counts = np.array([own.get(category, 0) for own in header.holdings])
        axes.bar(at, counts, 0.85, bottom=below, label=category.replace("_", " "))
        below += counts
    if len(at) <= _FEW:
        axes.set_xticks(at)
    axes.set(xlabel="client", ylabel="records", title=f"{header.name}: heterogeneity {header.heterogeneity:.2f}")
    axes.legend(fontsize="small", bbox_to_anchor=(1.0, 1.0), loc="upper left")
