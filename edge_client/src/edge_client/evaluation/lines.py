"""A file of JSON lines that grows by whole lines and can be read again after a kill. Readable by its owner only."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

from edge_client.disk import disk_errors
from fedit_shared.errors import UserError
from fedit_shared.messages import UNREADABLE

T = TypeVar("T", bound=msgspec.Struct)


class Lines(Generic[T]):
    """The values in the file ``path``, of ``kind``; :meth:`add` keeps more. A line that a kill cut off is dropped.

    Raises UserError for a file that holds anything else, DiskError where the disk refuses.
    """

    def __init__(self, path: Path, kind: type[T]) -> None:
        self._path = path
        with disk_errors(path):
            data = path.read_bytes() if path.exists() else b""
            whole = data[: data.rfind(b"\n") + 1]
            if len(whole) < len(data):
                os.truncate(path, len(whole))
        try:
            self.values: list[T] = [msgspec.json.decode(line, type=kind) for line in whole.splitlines()]
        except UNREADABLE as error:
            raise UserError(
                f"{path} holds other lines than expected: {error}.", advice="Name another folder."
            ) from error

    def add(self, values: Iterable[T]) -> None:
        """Keep ``values``: on disk when this returns."""
        new = list(values)
        with disk_errors(self._path):
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with open(descriptor, "ab") as stream:
                stream.write(b"".join(msgspec.json.encode(value) + b"\n" for value in new))
                stream.flush()
                os.fsync(stream.fileno())
        self.values += new
