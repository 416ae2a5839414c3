"""Runs schedules one after the other, each in an empty folder, and finds the shortest that still fails."""

import gc
import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TypeVar

import msgspec
from aiohttp import web_app

import edge_client.client.worker
import edge_client.yielding.gate
from agg_server.driver import driver
from edge_client.hardware import Hardware

from . import memory, system
from .schedule import Op, Schedule
from .server import Template, make_template
from .watch_device import PIECE_SIZE
from .world import Outcome, World

T = TypeVar("T")
_HARDWARE = Hardware(
    cpu="simulated",
    cores=1,
    memory_bytes=2**33,
    free_bytes=2**32,
    fast_bfloat16=False,
    gpus=(),
    torch_cuda="",
    versions={},
    advice="",
)
_CHUNK_SIZE = 12 * 1024
"""So that a vector of one row, 32 KiB, goes up in three chunks."""


class Runner:
    """Runs schedules. Made by :func:`runner`, once in an interpreter."""

    def __init__(self, template: Template, folder: Path) -> None:
        self._template = template
        self._folder = folder

    def run(self, schedule: Schedule, *, keep: int = 200) -> Outcome:
        """What ``schedule`` comes to, with the last ``keep`` lines of its trace."""
        place = self._folder / "schedule"
        place.mkdir()
        memory.forget()
        system.reseed(schedule.seed)
        try:
            return World(schedule, self._template, place, keep=keep).run()
        finally:
            shutil.rmtree(place)
            web_app._cached_build_middleware.cache_clear()  # it would keep every server alive
            gc.collect()

    def shorten(self, schedule: Schedule, rule: str) -> Schedule:
        """The same with as few operations as still break ``rule``: without any one of them it does not."""

        def fails(ops: Sequence[Op]) -> bool:
            failure = self.run(msgspec.structs.replace(schedule, ops=tuple(ops))).failure
            return failure is not None and failure.rule == rule

        return msgspec.structs.replace(schedule, ops=tuple(minimize(schedule.ops, fails)))


def minimize(items: Sequence[T], fails: Callable[[Sequence[T]], bool]) -> Sequence[T]:
    """Delta debugging (Zeller, Hildebrandt 2002, ddmin): a part of ``items`` that fails, of which no single item can be
    left out. ``items`` itself fails."""
    pieces = 2
    while len(items) >= 2:
        size = -(-len(items) // pieces)
        cuts = range(0, len(items), size)
        rests = ([*items[:at], *items[at + size :]] for at in cuts)
        smaller = next((rest for rest in rests if fails(rest)), None)
        if smaller is not None:
            items, pieces = smaller, max(pieces - 1, 2)
        elif size == 1:
            break
        else:
            pieces = min(2 * pieces, len(items))
    return [] if len(items) == 1 and fails([]) else items


@contextmanager
def runner(strategy: str = "fedavg") -> Iterator[Runner]:
    """A runner, on the fastest disk there is, of federations by this strategy. Changes this interpreter for good: use
    one of its own."""
    system.install()
    memory.install()
    logging.getLogger("agg_server").propagate = False
    driver.HOUSEKEEPING_SECONDS = 60.0
    for module in ("agg_server.storage.uploads", "edge_client.transport.upload"):
        import_module(module).CHUNK_SIZE, import_module(module).PIECE_SIZE = _CHUNK_SIZE, PIECE_SIZE
    edge_client.yielding.gate.TICK_SECONDS = 600.0
    edge_client.client.worker.find_hardware = lambda: _HARDWARE
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="simulation-", dir=shm if shm.is_dir() else None) as made:
        template = make_template(Path(made) / "template", strategy)
        gc.collect()
        gc.freeze()
        gc.disable()  # what a schedule left would be finalized in another one's process, on its clock and descriptors
        yield Runner(template, Path(made))
