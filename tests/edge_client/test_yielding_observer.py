"""What is seen of the machine: the load of others, not of the client's own children."""

import subprocess
import sys
import time
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from edge_client.yielding import Observer, observer
from edge_client.yielding.cards import Cards

SPIN = "import os, sys\nwhile os.getppid() == int(sys.argv[1]): pass"


class NvmlError(Exception):
    def __init__(self, value: int) -> None:
        self.value = value


SUCCESS, NOT_SUPPORTED, NOT_FOUND, NO_LIBRARY = 0, 3, 6, 12


class Driver:
    """Two cards; ``samples``: card → (process id, microseconds, percent)."""

    def __init__(self) -> None:
        self.here = True
        self.by_process = True
        self.samples: dict[int, list[tuple[int, int, int]]] = {0: [], 1: []}
        self.nvml = SimpleNamespace(
            NVML_SUCCESS=SUCCESS,
            NVML_ERROR_NOT_FOUND=NOT_FOUND,
            NVMLError=NvmlError,
            nvmlInit=self._init,
            nvmlDeviceGetCount=lambda: len(self.samples),
            nvmlDeviceGetHandleByIndex=lambda index: f"card {index}",
            nvmlDeviceGetProcessUtilization=self._utilization,
            nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=70),
        )

    def _init(self) -> None:
        if not self.here:
            raise NvmlError(NO_LIBRARY)

    def _utilization(self, handle: str, after: int) -> list[SimpleNamespace]:
        if not self.by_process:
            raise NvmlError(NOT_SUPPORTED)
        found = [
            SimpleNamespace(pid=pid, timeStamp=stamp, smUtil=percent)
            for pid, stamp, percent in self.samples[int(handle.split()[1])]
            if stamp > after
        ]
        if not found:
            raise NvmlError(NOT_FOUND)
        return found


ME, OTHER, STRANGER = psutil.Process().pid, psutil.Process().ppid(), 2**31 - 1


def test_the_load_of_the_busiest_card_is_that_of_others_since_the_last_look() -> None:
    driver = Driver()
    cards = Cards(driver.nvml)
    driver.samples = {0: [(OTHER, 10, 100)], 1: [(ME, 10, 100)]}
    assert cards.others({ME}) is None, "what was before the first look may be over"
    assert cards.others({ME}) == 0.0
    driver.samples[0] += [(OTHER, 20, 20), (OTHER, 30, 40)]
    driver.samples[1] += [(ME, 20, 90), (OTHER, 25, 10)]
    assert cards.others({ME}) == pytest.approx(0.3)
    driver.samples[0] += [(OTHER, 40, 100)]
    assert cards.others({ME, OTHER}) == 0.0


@pytest.mark.parametrize("by_process", [False, True])
def test_a_card_that_names_no_processes_of_here_counts_as_a_whole_while_no_child_may_load_it(by_process: bool) -> None:
    driver = Driver()
    driver.by_process = by_process
    cards = Cards(driver.nvml)
    driver.samples = {0: [(STRANGER, 10, 50)], 1: [(STRANGER, 10, 50)]}
    cards.others({ME})
    for expected, own in ((pytest.approx(0.7), {ME}), (None, {ME, OTHER})):
        for samples in driver.samples.values():
            samples.append((STRANGER, samples[-1][1] + 10, 50))
        assert cards.others(own) == expected


def test_without_a_driver_nothing_is_said_of_cards() -> None:
    driver = Driver()
    driver.here = False
    assert Cards(driver.nvml).others(set()) is None


@pytest.mark.parametrize(
    ("battery", "on_battery"),
    [
        (None, False),
        (SimpleNamespace(power_plugged=True), False),
        (SimpleNamespace(power_plugged=None), False),
        (SimpleNamespace(power_plugged=False), True),
    ],
)
def test_only_a_battery_that_is_known_to_be_unplugged_counts(
    battery: Any, on_battery: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(psutil, "sensors_battery", lambda: battery, raising=False)
    assert Observer(sleep=lambda _: None)().on_battery is on_battery


class Clockwork:
    """Processor seconds as psutil would tell them: of the machine, of the client, and of its child."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.busy = self.idle = 1000.0
        self.own = {1: 5.0, 2: 300.0}
        monkeypatch.setattr(observer, "_machine_seconds", lambda: (self.busy, self.busy + self.idle))
        monkeypatch.setattr(Observer, "_own_seconds", lambda _: dict(self.own))


def test_the_load_of_others_is_what_neither_the_client_nor_its_children_used(monkeypatch: pytest.MonkeyPatch) -> None:
    clockwork = Clockwork(monkeypatch)
    look = Observer(cards=Cards(Driver().nvml), sleep=lambda _: None)
    assert look().cpu_others is None
    clockwork.busy, clockwork.idle = 1080.0, 1020.0
    clockwork.own = {1: 15.0, 2: 340.0}
    assert look().cpu_others == pytest.approx(0.3)
    clockwork.busy, clockwork.idle = 1100.0, 1100.0
    clockwork.own = {1: 15.0, 3: 20.0}  # one child has gone, another has come
    assert look().cpu_others == pytest.approx(0.0)


def test_a_child_that_works_hard_is_counted_as_the_clients_own() -> None:
    look = Observer()
    look()
    ours = subprocess.Popen([sys.executable, "-c", SPIN, str(psutil.Process().pid)])
    try:
        assert ours.pid in look._own_seconds()
        before = look._own_seconds()[ours.pid]
        while look._own_seconds().get(ours.pid, 0.0) - before < 0.3:
            time.sleep(0.05)
        seen = look()
        assert seen.cpu_others is not None
        assert 0 <= seen.cpu_others <= 1
    finally:
        ours.kill()
        ours.wait()
    assert ours.pid not in look._own_seconds()
