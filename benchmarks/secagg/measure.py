"""Clocks, memory, cores, and what one figure is. Standard library only: it also runs in Flower's environment."""

import gc
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from benchmarks.resident import status_bytes

LEAST, MOST = 3, 15
ALONE = 5.0


@dataclass(frozen=True)
class Figure:
    """One measured value. ``whole``: measured as it is, not a unit times a count; ``parts`` says which units."""

    what: str
    system: str
    value: float
    unit: str
    d: int | None = None
    n: int | None = None
    k: int | None = None
    dropout: float | None = None
    whole: bool = True
    parts: str = ""


def dump(figures: Sequence[Figure]) -> str:
    """Figures as one line of JSON."""
    return json.dumps([asdict(figure) for figure in figures])


def load(text: str) -> list[Figure]:
    """The inverse of :func:`dump`."""
    return [Figure(**entry) for entry in json.loads(text)]


def pin(count: int = 2) -> list[int]:
    """Keep this process, and what it starts, on the first ``count`` of its cores; returns them. Linux only."""
    cores = sorted(os.sched_getaffinity(0))[:count]
    os.sched_setaffinity(0, cores)
    return cores


def seconds(call: Callable[[], object], budget: float) -> float:
    """Median time of ``call`` after one that does not count: repeated 3 times, and up to 15 within ``budget``.

    A call of more than 5 s is made only once: what it warms up is nothing beside it.
    """
    first = once(call)
    if first > ALONE:
        return first
    times: list[float] = []
    while len(times) < LEAST or (len(times) < MOST and sum(times) < budget):
        times.append(once(call))
    return median(times)


def once(call: Callable[[], object]) -> float:
    """Time of a single call."""
    gc.collect()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def peak(call: Callable[[], object]) -> int:
    """Bytes by which this process's resident memory rose at most while ``call`` ran. Linux only.

    Counts mapped files too. Memory that was freed before and is used again does not show: measure in a new process.
    """
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")
    before = status_bytes("VmRSS")
    call()
    return status_bytes("VmHWM") - before
