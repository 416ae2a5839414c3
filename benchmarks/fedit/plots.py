"""Three figures, each as PNG and SVG: loss by round, loss by category, who holds what. Needs the extra ``bench``."""

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
except ModuleNotFoundError as error:
    raise UserError("Plots need matplotlib.", advice="Install the extra: pip install '.[bench]'.") from error

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
    for name in last_judged(entries):
        own = [entry for entry in entries if entry.arm == name and entry.judged is not None]
        losses = [loss_of(entry.judged) for entry in own if entry.judged is not None]
        if name == BASE:
            axes.axhline(losses[0], color="0.5", linestyle="--", label=name)
        else:
            wide = 2.4 if name == FEDERATED else 1.4
            axes.plot([entry.round for entry in own], losses, marker="o", linewidth=wide, markersize=4, label=name)
    axes.set(xlabel="round (every arm has seen as many tokens)", ylabel="held-out loss, nats a token")
    axes.set_title(header.name)
    axes.legend()


def _by_category(axes: Axes, header: Header, entries: Sequence[Entry]) -> None:
    final = last_judged(entries)
    width = 0.8 / max(1, len(final))
    names: list[str] = []
    for place, (arm, entry) in enumerate(final.items()):
        assert entry.judged is not None
        losses = by_category(entry.judged, header.categories)
        names = list(losses)
        at = np.arange(len(names)) + (place - (len(final) - 1) / 2) * width
        axes.bar(at, list(losses.values()), width, label=arm)
    axes.set_xticks(np.arange(len(names)), [name.replace("_", " ") for name in names], rotation=20, ha="right")
    axes.set(ylabel="held-out loss, nats a token", title=header.name)
    axes.legend(ncols=3, fontsize="small")


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
