"""A disk on which only what was synced is sure.

The real code works on a real folder. :func:`installed` puts watchers in front of the operating system's calls; what a
simulated process does below its machine's root is noted, so that a power cut can take back what was not synced:

- a name (made, renamed, removed) is durable once its folder is synced; a cut keeps some first part of the changes
  since, folder by folder;
- a file's content is durable once the file is synced; a cut leaves of later writes nothing, all, or a part.

The database writes past these calls; it is trusted to keep what it has committed (WAL, synchronous=FULL).
"""

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random


class Node:
    """A file or folder. ``content``: what of a file is durable; None: nothing is."""

    __slots__ = ("content", "folder")

    def __init__(self, content: bytes | None = None, *, folder: bool = False) -> None:
        self.content = content
        self.folder = folder


Names = dict[str, Node]


class SimDisk:
    """What lies below ``root``. Paths are strings; what no simulated process has touched is durable."""

    def __init__(self, root: Path) -> None:
        self.root = f"{root}{os.sep}"
        self.writes_left: int | None = None
        """Until the disk is full; None: there is room."""
        self._live: Names = {}
        self._durable: Names = {}
        self._known: set[str] = set()
        self._pending: dict[str, list[dict[str, Node | None]]] = {}

    def owns(self, path: str) -> bool:
        return path.startswith(self.root)

    def short(self, path: str | None) -> str:
        """The path as it is shown."""
        return "nothing" if path is None else path.removeprefix(self.root)

    @property
    def full(self) -> bool:
        return self.writes_left is not None and self.writes_left <= 0

    def write_begins(self) -> None:
        """Something takes room. Raises OSError on a full disk."""
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if self.writes_left is not None:
            self.writes_left -= 1

    def adopt(self, path: str) -> None:
        """What lay here before anybody touched it is durable."""
        if path not in self._live and os.path.exists(path):
            folder = os.path.isdir(path)
            node = Node(None if folder else _content(path), folder=folder)
            self._live[path] = self._durable[path] = node
            self._known.add(path)

    def made(self, path: str, *, folder: bool = False) -> None:
        self._change(path, {path: Node(folder=folder)})

    def linked(self, source: str, target: str) -> None:
        self._change(target, {target: self._live[source]})

    def moved(self, source: str, target: str) -> None:
        self._change(target, {source: None, target: self._live[source]})

    def removed(self, path: str) -> None:
        self._change(path, {path: None})

    def synced(self, path: str) -> None:
        """The file's content, or the folder's names, are durable."""
        if os.path.isdir(path):
            for change in self._pending.pop(path, []):
                _apply(change, self._durable)
        elif path in self._live:
            self._live[path].content = _content(path)

    def lose_power(self, random: Random) -> None:
        """Take back what is not durable, or some of it."""
        kept = dict(self._durable)
        for folder in sorted(self._pending):
            changes = self._pending[folder]
            for change in changes[: random.randint(0, len(changes))]:
                _apply(change, kept)
        kept = {path: node for path, node in kept.items() if self._reachable(path, kept)}
        contents = {path: self._survives(path, kept[path], random) for path in sorted(kept) if not kept[path].folder}
        for path in sorted(self._live.keys() - kept.keys(), reverse=True):
            shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else _unlink(path)
        for path in sorted(kept):
            if kept[path].folder:
                os.makedirs(path, exist_ok=True)
            elif self._live.get(path) is not kept[path] or _content(path) != contents[path]:
                _unlink(path)  # a process that has died may still flush into the old file
                Path(path).write_bytes(contents[path])
        self._durable = {path: Node(contents.get(path), folder=kept[path].folder) for path in kept}
        self._live = dict(self._durable)
        self._pending.clear()

    def forget(self) -> None:
        """Somebody else has put other files here, durably."""
        self._live.clear()
        self._durable.clear()
        self._known.clear()
        self._pending.clear()

    def flip(self, random: Random, wanted: Callable[[str], bool] = lambda path: True) -> str | None:
        """Change one byte of one file; its path, None if there is none."""
        files = [p for p, node in sorted(self._live.items()) if not node.folder and wanted(p) and os.path.isfile(p)]
        files = [path for path in files if os.path.getsize(path)]
        if not files:
            return None
        path = random.choice(files)
        node, before = self._live[path], _content(path)
        at = random.randrange(len(before))
        after = before[:at] + bytes([before[at] ^ 1 << random.randrange(8)]) + before[at + 1 :]
        if node.content == before:
            node.content = after
        Path(path).write_bytes(after)
        return path

    def _change(self, path: str, change: dict[str, Node | None]) -> None:
        self._known |= change.keys()
        _apply(change, self._live)
        self._pending.setdefault(os.path.dirname(path), []).append(change)

    def _reachable(self, path: str, kept: Names) -> bool:
        folder = os.path.dirname(path)
        while self.owns(folder):
            if folder in self._known and folder not in kept:
                return False
            folder = os.path.dirname(folder)
        return True

    def _survives(self, path: str, node: Node, random: Random) -> bytes:
        at = next((name for name, live in self._live.items() if live is node and os.path.isfile(name)), None)
        synced = node.content or b""
        if at is None or (now := _content(at)) == node.content:
            return synced
        return random.choice([synced, b"", now[: random.randint(0, len(now))], bytes(len(now)), now])


def _apply(change: dict[str, Node | None], names: Names) -> None:
    for path, node in change.items():
        if node is None:
            names.pop(path, None)
        else:
            names[path] = node


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _unlink(path: str) -> None:
    if os.path.exists(path):
        os.unlink(path)
