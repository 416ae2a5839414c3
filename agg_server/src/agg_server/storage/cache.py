"""Copies of blobs on this machine, of what lies elsewhere but is read by position."""

import os
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from weakref import WeakValueDictionary

from ..errors import storage_error

CACHE_BYTES = 2 << 30
"""What files may take, less those used in the last minute."""
_IN_USE_SECONDS = 60.0


class Cache:
    """``folder`` is made when it is needed; each process has a part of its own in it. Several threads may use one.

    Where the disk refuses, methods raise UnavailableError: a FileNotFoundError is what ``fetch`` raises, and no other.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        own = folder / f"{socket.gethostname()}-{os.getpid()}"
        self._whole = own / "whole"
        self._coming = own / "coming"  # what is not whole yet, so that nobody counts, or lets go, what is renamed
        self._lock = Lock()
        self._room = Lock()
        self._fetching: WeakValueDictionary[str, Lock] = WeakValueDictionary()

    def settle(self) -> None:
        """Remove what processes of this machine that are gone have left."""
        host = f"{socket.gethostname()}-"
        for left in self._folder.glob(f"{host}*"):
            try:
                os.kill(int(left.name.removeprefix(host)), 0)
            except ProcessLookupError:
                shutil.rmtree(left, ignore_errors=True)
            except (ValueError, PermissionError):  # not ours
                continue

    def file(self, key: str, fetch: Callable[[int], None]) -> Path:
        """A copy of the blob, which ``fetch`` writes to a descriptor unless it is here."""
        path = self._whole / key
        with self._lock:
            fetching = self._fetching.setdefault(key, Lock())
        with fetching:
            if self._use(path):
                return path
            with on_disk():
                self._make_room()
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                self._coming.mkdir(mode=0o700, parents=True, exist_ok=True)
                descriptor, temporary = tempfile.mkstemp(dir=self._coming)
            try:
                try:
                    fetch(descriptor)
                finally:
                    os.close(descriptor)
                with on_disk():
                    os.replace(temporary, path)
            except BaseException:
                os.unlink(temporary)
                raise
        return path

    @contextmanager
    def scratch(self) -> Iterator[int]:
        """A file without a name, by its descriptor."""
        with on_disk():
            self._coming.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor, name = tempfile.mkstemp(dir=self._coming)
            os.unlink(name)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def _use(self, path: Path) -> bool:
        """Whether it is here; if so, it stays for a minute more."""
        with self._room, on_disk():
            try:
                os.utime(path)
            except FileNotFoundError:
                return False
        return True

    def _make_room(self) -> None:
        with self._room:
            found = [(path, path.stat()) for path in self._whole.rglob("*") if path.is_file()]
            found.sort(key=lambda entry: entry[1].st_mtime)
            size = sum(told.st_size for _, told in found)
            for path, told in found:
                if size <= CACHE_BYTES or told.st_mtime > time.time() - _IN_USE_SECONDS:
                    break
                size -= told.st_size
                path.unlink()


def write_at(descriptor: int, content: bytes, start: int) -> None:
    """All of ``content``, from this byte on: the system may write less of it than it was given."""
    with memoryview(content) as rest:
        done = 0
        while done < len(rest):
            done += os.pwrite(descriptor, rest[done:], start + done)


@contextmanager
def on_disk() -> Iterator[None]:
    """What this machine's disk says, as this server's errors."""
    try:
        yield
    except OSError as error:
        raise storage_error(error) from error
