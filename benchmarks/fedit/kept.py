"""Results that are kept: a file of ``benchmarks/results``, and the documentation's section that is made from it."""

import csv
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


def losses_file(name: str) -> Path:
    """Where the losses are kept that an experiment's results are made from."""
    return RESULTS / f"fedit-{name}-losses.csv"


def keep_losses(folder: Path, out: Path | None = None) -> Path:
    """Write each record's losses under each arm, round by round as they were judged, to ``out`` or to the file of the
    experiment in ``folder``: whoever doubts an interval can make it anew. The file."""
    header, entries = read_journal(folder)
    judged = {f"{entry.arm}, round {entry.round}": entry.judged for entry in entries if entry.judged is not None}
    tokens = next(iter(judged.values())).tokens
    columns = [header.categories, tokens, *([f"{loss:.4f}" for loss in one.losses] for one in judged.values())]
    path = out or losses_file(header.name)
    with disk_errors(path), path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(["category", "tokens", *judged])
        writer.writerows(zip(*columns, strict=True))
    return path


def keep_figures(folder: Path) -> list[Path]:
    """Draw the figures of the finished run in ``folder`` for the documentation; the files."""
    from .plots import illustrate

    header, entries = read_journal(folder)
    files = figure_files(header.name)
    with disk_errors(IMAGES):
        return illustrate(header, entries, files)


def keep(summary: dict[str, Any], out: Path | None = None) -> Path:
    """Write the summary to ``out``, or to the file of its experiment; which file. ``gap_closed`` is the share there
    that ``from_local`` has with its interval. A ``note``, put into the file by hand where a run's results came about in
    another way than by the one command, is shown by the page. Raises UserError for a run that is not finished."""
    arms = summary["arms"]
    if unfinished := [name for name, arm in arms.items() if name != BASE and arm["round"] != summary["rounds"]]:
        raise UserError(f"The run is not finished: {', '.join(unfinished)}.", advice="Go on with `fedit-bench run`.")
    found = summary["from_local"]
    said = {"gap_closed": found and found["closed"] and found["closed"]["value"]}
    path = out or result_file(summary["name"])
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(summary | said, indent=1) + "\n", encoding="utf-8")
    return path
