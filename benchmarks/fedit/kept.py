"""Results that are kept: a file of ``benchmarks/results``, and the documentation's section that is made from it."""

import json
from pathlib import Path
from typing import Any

from benchmarks.pages import RESULTS
from edge_client.disk import disk_errors
from fedit_shared.errors import UserError

from .journal import BASE


def result_file(name: str) -> Path:
    """Where an experiment's results are kept."""
    return RESULTS / f"fedit-{name}.json"


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
