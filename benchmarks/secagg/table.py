"""The section of ``docs/benchmarks.md`` on secure aggregation, from the newest result file.

``python -m benchmarks.secagg.table`` writes it; a test compares.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.machine import where
from benchmarks.pages import RESULTS, Section, table

from .measure import Figure
from .scenario import FULL, safe_neighbours
from .summary import find, summary

SECTION = Section("secagg", "benchmarks.secagg.table")
SMALL, LARGE = safe_neighbours(FULL.small).count, safe_neighbours(FULL.large).count

NAMES = {"ours": "**ours**", "flower": "Flower", "pairwise": "pairwise"}

Find = Callable[..., Figure | None]


@dataclass(frozen=True)
class Line:
    """One row of a table: its title, and where its figures are."""

    title: str
    what: str
    system: str
    where: dict[str, Any]


def newest() -> Path:
    """The result file that the page shows."""
    files = RESULTS.glob("secagg-*.json")
    return max(files, key=lambda file: json.loads(file.read_text())["machine"]["date"])


def section(result: dict[str, Any]) -> str:
    """Markdown."""
    figures = [Figure(**entry) for entry in result["figures"]]

    def look(what: str, system: str, **where: Any) -> Figure | None:
        return find(figures, what, system, **where)

    parts = [
        where(result["machine"]) + "\n",
        _headline(figures),
        *_by_dimension(look),
        _check(look),
        _bytes(look),
        _memory(look),
        _steps(look),
    ]
    return "\n".join(parts)


def _headline(figures: list[Figure]) -> str:
    values = summary(FULL, figures)
    titles = {
        "client_vs_flower_k10": "client, quantize and mask: against Flower with 10 neighbours",
        "unmask_vs_flower_n1000_d20": "server, unmask 1,000 clients, 20 % dropped: against Flower",
        "unmask_vs_flower_masks_alone_n1000_d20": "… counting only Flower's masks, not its opening of secrets",
        "unmask_vs_pairwise_n1000_d20": "… against the pairwise baseline",
        "unmask_vs_pairwise_in_cohorts_n1000_d20": "… against the pairwise baseline in cohorts of 64",
    }
    rows = [(title, f"{values[name]:,.0f} ×") for name, title in titles.items() if values[name] is not None]
    return table([f"at d = {FULL.headline:,}", "ours is faster by"], rows)


def _check(look: Find) -> str:
    """How far units × counts are from a whole run."""
    whole = look("unmask, one whole run", "flower")
    if whole is None:
        return ""
    units = look("unmask", "flower", d=whole.d, n=whole.n, dropout=whole.dropout)
    return (
        f"Flower's unmasking was also run whole once (n = {whole.n}, d = {whole.d:,}, {whole.dropout:.0%} dropped): "
        f"{_time(whole)}, where units times counts give {_time(units)}\n"
    )


def _by_dimension(look: Find) -> Iterator[str]:
    small, large = FULL.small, FULL.large
    yield _grid(
        "client: quantize and mask",
        look,
        [
            Line("**ours**", "client", "ours", {}),
            Line("Flower, k = 10 (unsafe)", "client", "flower", {"k": 10}),
            Line(f"Flower, k = {SMALL} (n = {small})", "client", "flower", {"k": SMALL}),
            Line(f"Flower, k = {LARGE} (n = {large:,})", "client", "flower", {"k": LARGE}),
            Line(f"pairwise, k = {SMALL} (n = {small})", "client", "pairwise", {"k": SMALL}),
            Line(f"pairwise, k = {LARGE} (n = {large:,})", "client", "pairwise", {"k": LARGE}),
            Line(f"ours with hash, shares and packets for {small}", "contribution", "ours", {}),
        ],
    )
    yield _grid("server: add one upload", look, [Line(NAMES[system], "add", system, {}) for system in NAMES])
    for n, title in ((small, f"server: unmask, n = {small}"), (large, f"server: unmask, n = {large:,}")):
        lines = []
        for dropout in FULL.dropouts:
            where, lost = {"n": n, "dropout": dropout}, f"{dropout:.0%} dropped"
            lines.append(Line(f"**ours**, {lost}", "unmask", "ours", where))
            lines.append(Line(f"Flower, {lost}", "unmask", "flower", where))
            lines.append(Line(f"Flower, its masks alone, {lost}", "unmask, masks alone", "flower", where))
            lines.append(Line(f"pairwise, {lost}", "unmask", "pairwise", where))
            if n == large:
                lines.append(Line(f"pairwise in cohorts of {small}, {lost}", "unmask in cohorts", "pairwise", where))
        yield _grid(title, look, lines)


def _bytes(look: Find) -> str:
    rows = []
    for title, system, n in (
        ("**ours**", "ours", None),
        ("Flower", "flower", None),
        ("pairwise, n = 64", "pairwise", FULL.small),
        ("pairwise, n = 1,000", "pairwise", FULL.large),
    ):
        where = {} if n is None else {"n": n}
        vector, packets = look("upload", system, d=FULL.headline, **where), look("packets", system)
        rows.append((title, f"{vector.value:.2f}" if vector else "–", _size(packets)))
    return table(["bytes up", "vector, a parameter", f"packets beside it, n = {FULL.small}"], rows)


def _memory(look: Find) -> str:
    rows = [
        (name, *(_size(look(f"peak memory, {role}", system)) for role in ("client", "server")))
        for name, system in (
            ("**ours**", "ours"),
            ("Flower, client with k = 10, server with one mask", "flower"),
            ("pairwise", "pairwise"),
        )
    ]
    head = f"peak memory, d = {FULL.dimensions[-1]:,}"
    return table([head, "client, beside its update", "server: sum, unmask, mean"], rows)


def _steps(look: Find) -> str:
    rows = [
        ("**ours**: seal one packet, n = 64", _time(look("seal one packet", "ours"))),
        ("**ours**: open one packet", _time(look("open one packet", "ours"))),
        ("**ours**: share a key and seal it to 64", _time(look("deal", "ours"))),
        ("**ours**: open the sum's key", _time(look("open the key", "ours"))),
    ]
    for n, k in ((FULL.small, SMALL), (FULL.large, LARGE)):
        rows += [
            (f"Flower: split a client's two secrets, k = {k}", _time(look("split two secrets", "flower", n=n))),
            (f"Flower: open the seed of one survivor, k = {k}", _time(look("open a seed", "flower", n=n))),
            (f"Flower: open the key of one who dropped, k = {k}", _time(look("open a key", "flower", n=n))),
            (f"pairwise: open one secret, k = {k}", _time(look("open a seed", "pairwise", n=n))),
        ]
    return table(["steps that do not depend on d", "time"], rows)


def _grid(title: str, look: Find, lines: list[Line]) -> str:
    rows = [
        (line.title, *(_time(look(line.what, line.system, d=d, **line.where)) for d in FULL.dimensions))
        for line in lines
    ]
    return table([title, *(f"d = {d:,}" for d in FULL.dimensions)], rows)


def _time(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    value, unit = next(
        (figure.value * scale, unit)
        for scale, unit in ((1, "s"), (1e3, "ms"), (1e6, "µs"))
        if figure.value * scale >= 1
    )
    text = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{text} {unit}" + ("" if figure.whole else " *")


def _size(figure: Figure | None) -> str:
    if figure is None:
        return "–"
    return f"{figure.value / 2**20:.1f} MiB" if figure.value >= 1 << 20 else f"{figure.value / 1024:.0f} KiB"


def main() -> None:
    """Write the section anew."""
    SECTION.write(section(json.loads(newest().read_text())))


if __name__ == "__main__":
    main()
