"""How much memory this process may use: the machine's, or what the control groups that it is in (a container's, one of
systemd's slices) leave of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

_GROUPS = Path("/sys/fs/cgroup")
_OWN = Path("/proc/self/cgroup")


class Room(NamedTuple):
    """In bytes. ``total``: what there is; ``free``: of it, now, counting what the system would give up of its cache."""

    total: int
    free: int


class _Files(NamedTuple):
    """How a version of the kernel's interface names things."""

    limits: tuple[str, ...]
    used: str
    cache: str
    """In ``memory.stat``: files that have not been used for some time."""


_V1 = _Files(("memory.limit_in_bytes",), "memory.usage_in_bytes", "total_inactive_file")
_V2 = _Files(("memory.max", "memory.high"), "memory.current", "inactive_file")


def find_room(groups: Path = _GROUPS, own: Path = _OWN) -> Room:
    """What is here. ``groups``: where control groups are mounted; ``own``: the kernel's list of those of this process,
    both of Linux alone. Never fails: a group that cannot be read bounds nothing."""
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    for folder, files in _groups(groups, own):
        limit = min((size for name in files.limits if (size := _size(folder / name)) is not None), default=None)
        if limit is not None:
            used = (_size(folder / files.used) or 0) - _cache(folder / "memory.stat", files.cache)
            total, free = min(total, limit), min(free, max(0, limit - used))
    return Room(total, free)


def _groups(groups: Path, own: Path) -> Iterator[tuple[Path, _Files]]:
    """The groups that hold this process, up to the outermost: each bounds it. In a container the path may be the
    host's; then the outermost that is mounted is the container's own."""
    try:
        lines = own.read_text().splitlines()
    except (OSError, UnicodeDecodeError):
        return
    for line in lines:
        _, controllers, path = (*line.split(":", 2), "", "")[:3]
        if controllers and "memory" not in controllers.split(","):
            continue
        mounted, files = (groups / "memory", _V1) if controllers else (groups, _V2)
        inner = [part for part in Path(path).parts if part not in ("/", "..")]
        for depth in range(len(inner), -1, -1):
            yield mounted.joinpath(*inner[:depth]), files


def _size(file: Path) -> int | None:
    """The number in ``file``; None without one, as for "max", which is none."""
    try:
        return int(file.read_text())
    except (OSError, ValueError):
        return None


def _cache(file: Path, name: str) -> int:
    try:
        fields = dict(line.split() for line in file.read_text().splitlines())
        return int(fields.get(name, 0))
    except (OSError, ValueError):
        return 0
