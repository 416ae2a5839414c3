"""Watchers in front of the operating system: for code of a simulated process, disk and clocks are those of its machine.

Everybody else gets the real ones. Randomness is drawn from the machine's seed. Put in place once for a whole
interpreter, by :func:`install`.
"""

import builtins
import io
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from functools import wraps
from itertools import count
from typing import Any

from .process import Crashed, Process, current

START = 1_800_000_000.0
"""Unix time at which every simulation begins."""

_real_open = builtins.open
_paths: dict[int, str] = {}
"""Open descriptor → path, for what simulated processes opened below their roots."""


def install() -> None:
    """Replace the calls."""
    os.open = _opening(os.open)  # type: ignore[assignment]
    builtins.open = io.open = _open  # type: ignore[assignment]
    os.fsync = _syncing(os.fsync)
    os.fdatasync = _syncing(os.fdatasync)
    os.posix_fallocate = _allocating(os.posix_fallocate)
    os.pwrite = _allocating(os.pwrite)  # type: ignore[assignment]
    os.mkdir = _one(os.mkdir, _made_folder, takes_room=True)
    os.rmdir = _one(os.rmdir, _removed)
    os.unlink = os.remove = _one(os.unlink, _removed)
    os.replace = _two(os.replace, _moved)
    os.rename = _two(os.rename, _moved)
    os.link = _two(os.link, _linked)
    shutil._use_fd_functions = False  # type: ignore[attr-defined]  # names relative to descriptors cannot be watched
    real_time, real_monotonic = time.time, time.monotonic
    time.time = lambda: _wall(process) if (process := current()) else real_time()
    real_urandom = os.urandom
    os.urandom = lambda size: process.machine.random.randbytes(size) if (process := current()) else real_urandom(size)
    sys.unraisablehook = _ignore_the_dead
    time.monotonic = lambda: process.machine.loop.time() if (process := current()) else real_monotonic()


def reseed(seed: int) -> None:
    """Begin a schedule: what is drawn without a machine (pauses, names of temporary files) follows too."""
    random.seed(seed)
    tempfile._name_sequence = (f"{number:08x}" for number in count())  # type: ignore[attr-defined]
    _paths.clear()


def _ignore_the_dead(unraisable: "sys.UnraisableHookArgs") -> None:
    """Coroutines of a schedule that is over are thrown away where they stand, and complain."""
    if not isinstance(unraisable.exc_value, Crashed | RuntimeError):
        sys.__unraisablehook__(unraisable)


def _wall(process: Process) -> float:
    machine = process.machine
    return START + machine.loop.time() + machine.skew


def _owner(path: object) -> tuple[Process, str] | None:
    process = current()
    if process is None or isinstance(path, int):
        return None
    name = os.fspath(path)  # type: ignore[call-overload]
    return (process, name) if isinstance(name, str) and process.machine.disk.owns(name) else None


def _open(file: Any, mode: str = "r", *args: Any, **options: Any) -> Any:
    owned = _owner(file)
    if owned is None:
        opened = _real_open(file, mode, *args, **options)
        if not isinstance(file, int):
            _paths.pop(opened.fileno(), None)  # its number may have been another file's
        return opened
    process, path = owned
    if not process.alive or "r" not in mode:
        process.effect(f"open {_short(process, path)}")
    if "r" not in mode:
        _creates(process, path)
    opened = _real_open(file, mode, *args, **options)
    _paths[opened.fileno()] = path
    if "+" in mode:
        process.machine.disk.adopt(path)
    return opened


def _opening(real: Callable[..., int]) -> Callable[..., int]:
    @wraps(real)
    def call(path: Any, flags: int, *args: Any, **options: Any) -> int:
        owned = _owner(path)
        if owned is None:
            descriptor = real(path, flags, *args, **options)
            _paths.pop(descriptor, None)
            return descriptor
        process, name = owned
        if flags & os.O_CREAT:
            process.effect(f"create {_short(process, name)}")
            existed = os.path.exists(name)
            if not existed:
                process.machine.disk.write_begins()
            else:
                process.machine.disk.adopt(name)
        descriptor = real(path, flags, *args, **options)
        if flags & os.O_CREAT and not existed:
            process.machine.disk.made(name)
        _paths[descriptor] = name
        return descriptor

    return call


def _creates(process: Process, path: str) -> None:
    disk = process.machine.disk
    disk.write_begins()
    if os.path.exists(path):
        disk.adopt(path)
    else:
        with _real_open(path, "xb"):
            disk.made(path)


def _syncing(real: Callable[[int], None]) -> Callable[[int], None]:
    @wraps(real)
    def call(descriptor: int) -> None:
        process = current()
        path = _paths.get(descriptor)
        if process is None or path is None:
            return real(descriptor)
        process.effect(f"sync {_short(process, path)}")
        if not os.path.isdir(path):
            process.machine.disk.write_begins()
        process.machine.disk.synced(path)
        process.effect(f"synced {_short(process, path)}")
        return None

    return call


def _allocating(real: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(real)
    def call(descriptor: int, *args: Any) -> Any:
        process = current()
        if process is not None:
            process.effect(f"write {_short(process, _paths.get(descriptor, '?'))}")
            process.machine.disk.write_begins()
        return real(descriptor, *args)

    return call


def _one(real: Callable[..., None], note: Callable[[Process, str], None], *, takes_room: bool = False) -> Any:
    @wraps(real)
    def call(path: Any, *args: Any, **options: Any) -> None:
        owned = _owner(path)
        if owned is None:
            return real(path, *args, **options)
        process, name = owned
        process.effect(f"{real.__name__} {_short(process, name)}")
        process.machine.disk.adopt(name)
        if takes_room:
            process.machine.disk.write_begins()
        real(path, *args, **options)
        note(process, name)
        return None

    return call


def _two(real: Callable[..., None], note: Callable[[Process, str, str], None]) -> Any:
    @wraps(real)
    def call(source: Any, target: Any, **options: Any) -> None:
        owned = _owner(target)
        if owned is None:
            return real(source, target, **options)
        process, name = owned
        process.effect(f"{real.__name__} to {_short(process, name)}")
        process.machine.disk.adopt(name)
        process.machine.disk.adopt(os.fspath(source))
        real(source, target, **options)
        note(process, os.fspath(source), name)
        return None

    return call


def _made_folder(process: Process, path: str) -> None:
    process.machine.disk.made(path, folder=True)


def _removed(process: Process, path: str) -> None:
    process.machine.disk.removed(path)


def _moved(process: Process, source: str, target: str) -> None:
    process.machine.disk.moved(source, target)


def _linked(process: Process, source: str, target: str) -> None:
    process.machine.disk.linked(source, target)


def _short(process: Process, path: str) -> str:
    return process.machine.disk.short(path)
