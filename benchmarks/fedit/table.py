"""The section of ``docs/benchmarks.md`` on federated instruction tuning, from the result file that is kept.

``python -m benchmarks.fedit.table`` writes it; a test compares.
"""

import json
import os
from typing import Any

from benchmarks.machine import where
from benchmarks.pages import Section, table

from .answers import answers_file
from .answers import section as answers_section
from .journal import BASE
from .kept import FIGURES, figure_files, result_file
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
    return "\n".join([_about(result), arms_table(result), _by_category(result), *_figures(result["name"])])


def _figures(name: str) -> list[str]:
    """Links to the figures that are kept."""
    return [
        f"![{FIGURES[figure]}.]({os.path.relpath(file, SECTION.page.parent)})\n"
        for figure, file in figure_files(name).items()
        if file.exists()
    ]


def _about(result: dict[str, Any]) -> str:
    settings, judged = result["settings"], result["judged"].values()
    more = settings["evaluation"]["file"]
    lost = result["records"] - sum(judged)
    beyond = f"; the answers of {lost} more lie beyond {settings['evaluation']['max_length']:,} tokens" if lost else ""
    return (
        f"{settings['model']['id']} on {', '.join(settings['data']['files'])}. {where(result['machine'], 'Begun')} "
        f"{result['clients']} clients of heterogeneity {result['heterogeneity']:.2f}, {result['rounds']} rounds; "
        f"judged on {sum(judged)} records{f', those of {more} among them' if more else ''}, {min(judged)} to "
        f"{max(judged)} of a category{beyond}.\n"
    )


def _by_category(result: dict[str, Any]) -> str:
    arms = result["arms"]
    rows = [
        (
            f"{category.replace('_', ' ')} ({result['judged'][category]})",
            *(f"{arm['by_category'][category]:.3f}" for arm in arms.values()),
        )
        for category in arms[BASE]["by_category"]
    ]
    return table(["held-out loss (records)", *arms], rows)


def content() -> str:
    """All of the page's section: losses, and answers where there are any."""
    file = answers_file(NAME)
    answers = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    return section(kept()) + answers_section(answers)


def main() -> None:
    """Write the section anew."""
    SECTION.write(content())


if __name__ == "__main__":
    main()
