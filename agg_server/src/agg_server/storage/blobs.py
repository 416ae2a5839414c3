"""Files that are there whole or not at all: adapters, packets and sums, in a folder.

A blob is written beside its place, fsynced, renamed, and its folder fsynced: after :meth:`Blobs.write` returns it
survives a power cut. Blobs never change.
"""

import contextlib
import os
import shutil
import struct
import tempfile
from collections.abc import Collection
from pathlib import Path

from ..errors import storage_error
from .folders import make_folder, sync_folder
from .uploads import Upload

_OFFSET = struct.Struct("<I")


class Blobs:
    """The folder, a :class:`.kinds.Storage`. Keys are paths relative to it."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def settle(self) -> None:
        """Make every name durable that is there. To be called at the start: a kill may have come between the making
        of one and the sync of its folder, and who finds it now would take it for durable."""
        for folder, below, _ in os.walk(self._root):
            below.sort()  # the same order each time: a simulation can be run again
            sync_folder(Path(folder))

    def path(self, key: str) -> Path:
        """Where the blob lies or will lie."""
        return self._root / key

    def file(self, key: str) -> Path:
        """The file itself. Raises FileNotFoundError."""
        path = self.path(key)
        if not path.is_file():
            raise FileNotFoundError(path)
        return path

    def place(self, key: str) -> str:
        """The file's path."""
        return str(self.path(key))

    def upload(self, key: str, size: int) -> Upload:
        """The upload of ``size`` bytes in this file, begun or not."""
        return Upload(self.path(key), size)

    def read(self, key: str) -> bytes:
        """The whole blob. Raises FileNotFoundError."""
        return self.path(key).read_bytes()

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Store ``content``. Raises UnavailableError if the disk refuses; then nothing is there."""
        target = self.path(key)
        try:
            make_folder(target.parent)
            descriptor, temporary = tempfile.mkstemp(prefix=".new-", dir=target.parent)
            try:
                with open(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                os.replace(temporary, target)
            except BaseException:
                with contextlib.suppress(OSError):
                    os.unlink(temporary)
                raise
            sync_folder(target.parent)
        except OSError as error:
            raise storage_error(error) from error

    def having(self, prefix: str, parts: Collection[str]) -> set[str]:
        """The names right below ``prefix`` that have one of ``parts`` below them."""
        root = self.path(prefix)
        folders = root.iterdir() if root.is_dir() else ()
        return {folder.name for folder in folders if any((folder / part).exists() for part in parts)}

    def empty(self) -> bool:
        """Whether the folder is not there, or nothing in it."""
        return not self._root.exists() or not any(self._root.iterdir())

    def delete(self, prefix: str) -> None:
        """Remove the blob, or all below the folder, if there."""
        path = self.path(prefix)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def pack_items(items: list[bytes]) -> bytes:
    """Items joined behind a table of their ends, so that one can be read without the others."""
    end = _OFFSET.size * len(items)
    ends = []
    for item in items:
        end += len(item)
        ends.append(_OFFSET.pack(end))
    return b"".join(ends) + b"".join(items)


def read_item(file: Path, index: int, count: int) -> bytes:
    """Item ``index`` of the ``count`` that :func:`pack_items` joined in ``file``."""
    table = _OFFSET.size * count
    with open(file, "rb") as stream:
        ends = struct.unpack(f"<{count}I", stream.read(table))
        start = ends[index - 1] if index else table
        stream.seek(start)
        return stream.read(ends[index] - start)
