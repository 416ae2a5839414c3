"""Results that are kept: a file of ``benchmarks/results``, and the documentation's section that is made from it."""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import IMAGES, RESULTS
from edge_client.disk import disk_errors
from fedit_shared.errors import UserError

from .journal import BASE, read_journal

FIGURES = {
    "loss-by-round": "The gain of each arm over the base model after each round that was judged, with its interval",
    "loss-by-category": "The gain of each arm over the base model in each category of records, with its interval",
    "who-holds-what": "How many records of each category each client holds",
}
"""What of a run's figures is kept, and what each shows."""


def result_file(name: str) -> Path:
    """Where an experiment's results are kept."""
    return RESULTS / f"fedit-{name}.json"


def figure_files(name: str) -> dict[str, Path]:
    """Where an experiment's figures are kept, by their names."""
    return {figure: IMAGES / f"fedit-{name}-{figure}.svg" for figure in FIGURES}


def keep_figures(folder: Path) -> list[Path]:
    """Draw the figures of the finished run in ``folder`` for the documentation; the files."""
    from .plots import illustrate

    header, entries = read_journal(folder)
    files = figure_files(header.name)
    with disk_errors(IMAGES):
        return illustrate(header, entries, files)


def keep(summary: dict[str, Any], out: Path | None = None) -> Path:
    """Write the summary to ``out``, or to the file of its experiment; which file. ``gap_closed`` is a number there,
    beside its interval. Raises UserError for a run that is not finished."""
    arms = summary["arms"]
    if unfinished := [name for name, arm in arms.items() if name != BASE and arm["round"] != summary["rounds"]]:
        raise UserError(f"The run is not finished: {', '.join(unfinished)}.", advice="Go on with `fedit-bench run`.")
    gap = summary["gap_closed"]
    said = {"gap_closed": gap and gap["value"], "gap_closed_interval": gap and [gap["low"], gap["high"]]}
    path = out or result_file(summary["name"])
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(summary | said, indent=1) + "\n", encoding="utf-8")
    return path
