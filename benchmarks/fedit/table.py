"""The section of ``docs/benchmarks.md`` on federated instruction tuning, from the result file that is kept.

``python -m benchmarks.fedit.table`` writes it; a test compares.
"""

import json
import os
from typing import Any

from benchmarks.machine import where
from benchmarks.pages import Section, table

from .journal import BASE, CENTRALIZED, FEDERATED
from .kept import FIGURES, figure_files, result_file
from .report import best_lines, gap_line
from .report import table as arms_table

SECTION = Section("fedit", "benchmarks.fedit.table")
NAME = "dolly"
_NONE = (
    f"No run has been kept yet: `fedit-bench run {NAME}`, then `fedit-bench keep build/fedit/{NAME}` and "
    "`python -m benchmarks.fedit.table`.\n"
)


def kept() -> dict[str, Any] | None:
    """The results that the page shows; None before there are any."""
    file = result_file(NAME)
    return json.loads(file.read_text(encoding="utf-8")) if file.exists() else None


def section(result: dict[str, Any] | None) -> str:
    """Markdown."""
    if result is None:
        return _NONE
    share, interval = result["gap_closed"], result["gap_closed_interval"]
    gap = None if share is None else {"value": share, "low": interval[0], "high": interval[1]}
    told = arms_table(result | {"gap_closed": None, "local_at_best": None})
    told += gap_line(gap) + best_lines(result["local_at_best"]) + _from_base(result["arms"])
    parts = [_about(result), told, _by_category(result)]
    return "\n".join([*parts, *_figures(result["name"])])


def _from_base(arms: dict[str, Any]) -> str:
    """How far the federation goes from the base model towards centralized training."""
    base, own, whole = (arms.get(name, {}).get("loss") for name in (BASE, FEDERATED, CENTRALIZED))
    if own is None or whole is None or base <= whole:
        return ""
    return f"\nOf the way from the base model to centralized, federated goes {(base - own) / (base - whole):.0%}.\n"


def _figures(name: str) -> list[str]:
    """Links to the figures that are kept."""
    return [
        f"![{FIGURES[figure]}.]({os.path.relpath(file, SECTION.page.parent)})\n"
        for figure, file in figure_files(name).items()
        if file.exists()
    ]


def _about(result: dict[str, Any]) -> str:
    return (
        f"{where(result['machine'], 'Begun')} {result['clients']} clients of heterogeneity "
        f"{result['heterogeneity']:.2f}, {result['rounds']} rounds; judged on {result['records']} records.\n"
    )


def _by_category(result: dict[str, Any]) -> str:
    arms = result["arms"]
    rows = [
        (category.replace("_", " "), *(f"{arm['by_category'][category]:.3f}" for arm in arms.values()))
        for category in arms[BASE]["by_category"]
    ]
    return table(["held-out loss", *arms], rows)


def main() -> None:
    """Write the section anew."""
    SECTION.write(section(kept()))


if __name__ == "__main__":
    main()
