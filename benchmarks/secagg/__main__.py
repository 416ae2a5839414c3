"""``python -m benchmarks.secagg``: measure, keep the figures in a file, print one line of JSON last."""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.machine import machine

from . import baseline, ours
from .measure import Figure, load, pin
from .scenario import FULL, QUICK, Scenario
from .summary import summary

ROOT = Path(__file__).parents[2]
FLOWER = ROOT / "build" / "flower" / "bin" / "python"
PEAKS = {
    "ours": {"client": ours.peak_client, "server": ours.peak_server},
    "pairwise": {"client": baseline.peak_client, "server": baseline.peak_server},
}


def measure(scenario: Scenario, name: str) -> Iterator[Figure]:
    """All figures of all systems; Flower's only where it is installed."""
    yield from ours.figures(scenario)
    yield from baseline.figures(scenario)
    if FLOWER.exists():
        yield from load(_python(FLOWER, "benchmarks.secagg.flower", name))
    d = scenario.dimensions[-1]
    for role in ("client", "server"):
        for system in PEAKS:
            command = ("benchmarks.secagg", "--peak", system, role, str(d))
            yield Figure(f"peak memory, {role}", system, int(_python(Path(sys.executable), *command)), "bytes", d=d)
        if FLOWER.exists():
            value = int(_python(FLOWER, "benchmarks.secagg.flower", "peak", role, str(d)))
            yield Figure(f"peak memory, {role}", "flower", value, "bytes", d=d)


def here(cores: list[int]) -> dict[str, Any]:
    """Where and on what this is measured."""
    found = machine("numpy", "numba", "cryptography")
    if FLOWER.exists():
        found["versions"]["flwr"] = _python(FLOWER, "benchmarks.secagg.flower", "version").strip()
    return found | {"cores": len(cores)}


def encode(where: dict[str, Any], scenario: Scenario, figures: Sequence[Figure]) -> str:
    """The result file: JSON, a figure to a line."""
    parts = {"machine": where, "scenario": asdict(scenario)}
    head = [f"{json.dumps(name)}: {json.dumps(part)}" for name, part in parts.items()]
    lines = [json.dumps(asdict(figure), ensure_ascii=False) for figure in figures]
    return "{" + ",\n".join([*head, '"figures": [\n' + ",\n".join(lines)]) + "\n]}\n"


def _python(python: Path, module: str, *arguments: str) -> str:
    command = [str(python), "-m", module, *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.secagg", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny sizes: whether it works, not how fast")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "secagg.json", help="where the figures go")
    parser.add_argument("--peak", nargs=3, metavar=("SYSTEM", "ROLE", "D"), help="print peak memory, nothing else")
    options = parser.parse_args()
    if options.peak:
        system, role, d = options.peak
        print(PEAKS[system][role](int(d)))
        return
    if not hasattr(os, "sched_setaffinity"):
        sys.exit("Only Linux lets this benchmark pin its cores and read its memory.")
    scenario, name = (QUICK, "QUICK") if options.quick else (FULL, "FULL")
    where = here(pin())
    figures = []
    for figure in measure(scenario, name):
        figures.append(figure)
        print(f"{figure.system:9} {figure.what:24} {figure.value:12.4g} {figure.unit}", file=sys.stderr, flush=True)
    where["load"] = {"before": where["load"], "after": round(os.getloadavg()[0], 2)}
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(encode(where, scenario, figures))
    print(json.dumps(summary(scenario, figures)))


if __name__ == "__main__":
    main()
