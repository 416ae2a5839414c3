"""Where blobs lie: what the folder (:mod:`.blobs`) and S3-compatible storage (:mod:`.objects`) have in common.

A blob is there whole or not at all, and never changes; when a write returns it survives whatever may come. Uploads are
what grows before it is one. Keys are paths of this server's own making.
"""

from collections.abc import Collection
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Uploading(Protocol):
    """One device's masked vector, piece by piece. Methods block; several threads, and replicas, may use one."""

    def put(self, first: int, content: bytes) -> None:
        """A chunk: the pieces from number ``first`` on, stored when this returns. Raises ProtocolError for a chunk that
        this upload does not have, ConflictError for other content than before, UnavailableError if the storage
        refuses."""
        ...

    def held(self) -> bytes:
        """Which pieces are stored: bit i, little-endian bits."""
        ...

    def complete(self) -> bool:
        """Whether all pieces are stored."""
        ...

    def digest(self) -> bytes:
        """SHA-256 of the whole vector."""
        ...

    def vector(self) -> NDArray[np.uint32]:
        """The vector, mapped from a file: uint32 (rows, 2, N)."""
        ...

    def discard(self) -> None:
        """Forget all pieces; they can be sent again."""
        ...


class Storage(Protocol):
    """All methods block: for worker threads. They raise UnavailableError where the storage refuses or is away."""

    def settle(self) -> None:
        """To be called at the start: what is there is durable from now on."""
        ...

    def read(self, key: str) -> bytes:
        """The whole blob. Raises FileNotFoundError."""
        ...

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Store ``content``; if it fails, nothing is there."""
        ...

    def file(self, key: str) -> Path:
        """A file of this machine with the blob's content, to be read and left alone. Raises FileNotFoundError."""
        ...

    def empty(self) -> bool:
        """Whether nothing is there."""
        ...

    def delete(self, prefix: str) -> None:
        """Remove the blob, or all below ``prefix``, if there."""
        ...

    def having(self, prefix: str, parts: Collection[str]) -> set[str]:
        """The names right below ``prefix`` that have one of ``parts`` below them."""
        ...

    def upload(self, key: str, size: int) -> Uploading:
        """The upload of ``size`` bytes under this key, begun or not."""
        ...

    def place(self, key: str) -> str:
        """Where the blob lies, for people."""
        ...
