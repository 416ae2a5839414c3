"""The section of ``docs/benchmarks.md`` on training, from the newest result file.

``python -m benchmarks.training.table`` writes it; a test compares.
"""

import json
from pathlib import Path
from typing import Any

from benchmarks.machine import where
from benchmarks.pages import RESULTS, Section, table

from .__main__ import summary
from .scenario import GB, Result, Row

SECTION = Section("training", "benchmarks.training.table")
_NAMES = {"smollm2": "SmolLM2-135M", "llama-7b": "Llama, 7B, random weights"}


def newest() -> Path:
    """The result file that the page shows."""
    return max(RESULTS.glob("training-*.json"), key=lambda file: json.loads(file.read_text())["machine"]["date"])


def section(kept: dict[str, Any]) -> str:
    """Markdown."""
    results = [Result(**entry | {"row": Row(**entry["row"])}) for entry in kept["results"]]
    ratios = iter(row["speed_ratio"] for row in summary(results)["rows"])
    rows = [_row(result, next(ratios) if result.row.system == "ours" else None) for result in results]
    head = ["", "budget", "tokens/s", "against Shepherd", "peak", "planned", "loss", "how"]
    return f"{where(kept['machine'])} GB are 10⁹ bytes.\n\n{table(head, rows)}"


def _row(result: Result, ratio: float | None) -> tuple[str, ...]:
    row = result.row
    system = "**ours**" if row.system == "ours" else "Shepherd's set-up"
    title = f"{system}, {_NAMES[row.model]}, {row.quantization}, {row.length} tokens"
    budget = "none" if row.budget is None else f"{row.budget / GB:.1f} GB"
    if result.outcome != "done" or result.tokens_per_s is None:
        return (title, budget, "–", "–", "–", _gb(result.predicted), "–", result.outcome)
    how = result.plan or f"{row.micro_batch} records at a time"
    return (
        title,
        budget,
        f"{result.tokens_per_s:.0f}",
        "" if ratio is None else f"{ratio:.2f} ×",
        _gb(result.peak),
        _gb(result.predicted),
        f"{result.loss:.3f}",
        how,
    )


def _gb(size: int | None) -> str:
    return "" if size is None else f"{size / GB:.2f} GB"


def main() -> None:
    """Write the section anew."""
    SECTION.write(section(json.loads(newest().read_text())))


if __name__ == "__main__":
    main()
