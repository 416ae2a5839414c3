"""Looking at the machine. Thin: what follows from it is decided in :mod:`.policy`.

What ``idle`` can mean differs by system. Everywhere: other programs leave the processor alone, and, on an NVIDIA card
whose driver tells, the card. On Windows and macOS also: nobody uses keyboard or mouse. Linux has no way to learn that
which holds on every desktop, so there a person who only reads is not noticed.
"""

import time
from collections.abc import Callable

import psutil

from .cards import Cards
from .keyboard import input_age
from .policy import Observation

_FIRST_SECONDS = 1.0
"""A load is measured over some time; the first look takes this long."""


class Observer:
    """Calling it looks at this machine, and measures loads since the last call. Never fails: what cannot be found out
    is None. The process that makes it, and all that it started, count as the client."""

    def __init__(self, *, cards: Cards | None = None, sleep: Callable[[float], None] = time.sleep) -> None:
        self._process = psutil.Process()
        self._cards = cards or Cards()
        self._sleep = sleep
        self._own: dict[int, float] = {}
        self._all: tuple[float, float] | None = None

    def __call__(self) -> Observation:
        if self._all is None:
            self._cpu_others()
            self._cards.others(set(self._own))
            self._sleep(_FIRST_SECONDS)
        cpu = self._cpu_others()
        return Observation(
            cpu_others=cpu,
            gpu_others=self._cards.others(set(self._own)),
            input_age=input_age(),
            on_battery=_on_battery(),
        )

    def _cpu_others(self) -> float | None:
        before, self._all = self._all, _machine_seconds()
        own, self._own = self._own, self._own_seconds()
        if before is None:
            return None
        busy, total = self._all[0] - before[0], self._all[1] - before[1]
        mine = sum(max(0.0, seconds - own.get(pid, 0.0)) for pid, seconds in self._own.items())
        return min(1.0, max(0.0, busy - mine) / total) if total > 0 else None

    def _own_seconds(self) -> dict[int, float]:
        """Processor seconds of this process and of all below it, by process id."""
        found = {}
        for process in (self._process, *_below(self._process)):
            try:
                times = process.cpu_times()
            except psutil.Error:
                continue
            found[process.pid] = times.user + times.system
        return found


def _below(process: psutil.Process) -> list[psutil.Process]:
    try:
        below: list[psutil.Process] = process.children(recursive=True)
    except psutil.Error:
        return []
    return below


def _machine_seconds() -> tuple[float, float]:
    """Seconds that all cores have been busy, and seconds in all."""
    times = psutil.cpu_times()._asdict()
    # Under Linux, user and nice hold the guests' time already.
    total = sum(seconds for name, seconds in times.items() if name not in ("guest", "guest_nice"))
    return total - sum(times.get(name, 0.0) for name in ("idle", "iowait", "steal")), total


def _on_battery() -> bool:
    """A machine without a battery, or that does not tell, counts as plugged in: a battery held at its charging limit
    is told as neither charging nor discharging."""
    try:
        battery = psutil.sensors_battery()
    except (AttributeError, OSError, psutil.Error):  # not on this system, or in a container
        return False
    return battery is not None and battery.power_plugged is False
