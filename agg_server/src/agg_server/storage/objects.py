"""Blobs in S3-compatible storage, through obstore: a :class:`.kinds.Storage` that several machines share.

Where the storage is and how to get in comes from the environment alone: ``AWS_ENDPOINT_URL``, ``AWS_REGION``,
``AWS_ACCESS_KEY_ID``, ``AWS_SECRET_ACCESS_KEY`` and so on, or what the machine is allowed to. An upload's chunks are
objects, made only where there is none yet; what is to be read by position goes through a file of this machine.
"""

import logging
import os
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import timedelta
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import UserError
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE

from ..errors import UnavailableError
from .cache import Cache, on_disk, write_at
from .uploads import as_vector, bits, check_chunk, other_content, split

if TYPE_CHECKING:
    from obstore.store import S3Store

_HASH_STEP = 1 << 20
_AT_ONCE = 4
_PIECES = CHUNK_SIZE // PIECE_SIZE
_SECRETS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
_log = logging.getLogger(__name__)


class ObjectBlobs:
    """``bucket`` and ``prefix``: where all keys lie; ``cache``: a folder of this machine (:class:`.cache.Cache`)."""

    def __init__(self, bucket: str, prefix: str, cache: Path) -> None:
        self._bucket = bucket
        self._prefix = prefix
        self._store = _open(bucket, prefix)
        self._cache = Cache(cache)

    def settle(self) -> None:
        """Remove what processes of this machine that are gone have left in the cache."""
        self._cache.settle()

    def read(self, key: str) -> bytes:
        """The whole blob. Raises FileNotFoundError."""
        import obstore

        with answering():
            return bytes(obstore.get(self._store, key).bytes())

    def write(self, key: str, content: bytes | memoryview) -> None:
        """Store ``content``; if it fails, nothing is there."""
        import obstore

        with answering():
            obstore.put(self._store, key, content)

    def create(self, key: str, content: bytes) -> bool:
        """Store ``content`` unless there is something already; whether it was stored."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        with answering():
            try:
                obstore.put(self._store, key, content, mode="create", use_multipart=False)
            except AlreadyExistsError:
                return False
        return True

    def file(self, key: str) -> Path:
        """A copy of the blob, fetched once. Raises FileNotFoundError."""
        return self._cache.file(key, partial(self._fetch, key))

    def empty(self) -> bool:
        """Whether nothing is there."""
        import obstore

        with answering():
            return not any(obstore.list(self._store))

    def delete(self, prefix: str) -> None:
        """Remove the blob, or all below ``prefix``, if there."""
        import obstore

        with answering():
            obstore.delete(self._store, [prefix, *self.below(prefix)])

    def below(self, prefix: str) -> list[str]:
        """All keys below ``prefix``."""
        import obstore

        with answering():
            return [meta["path"] for batch in obstore.list(self._store, prefix) for meta in batch]

    def having(self, prefix: str, parts: Collection[str]) -> set[str]:
        """The names right below ``prefix`` that have one of ``parts`` below them."""
        steps = (key.removeprefix(f"{prefix}/").split("/", 2) for key in self.below(prefix))
        return {step[0] for step in steps if len(step) > 2 and step[1] in parts}

    def upload(self, key: str, size: int) -> "ObjectUpload":
        """The upload of ``size`` bytes under this key, begun or not."""
        return ObjectUpload(self, key, size)

    def place(self, key: str) -> str:
        """The object's URL."""
        return "/".join(filter(None, ("s3:/", self._bucket, self._prefix, key)))

    def scratch(self) -> AbstractContextManager[int]:
        """A file of this machine without a name, by its descriptor."""
        return self._cache.scratch()

    def _fetch(self, key: str, descriptor: int) -> None:
        import obstore

        place = 0
        with answering():
            for part in obstore.get(self._store, key).stream(min_chunk_size=_HASH_STEP):
                with on_disk():
                    write_at(descriptor, bytes(part), place)
                place += len(part)


class ObjectUpload:
    """A :class:`.kinds.Uploading` of objects below ``key``: one for each chunk that came whole, and one for each
    piece where chunks came in parts. What is complete in pieces is read from them, so that nothing changes it."""

    def __init__(self, blobs: ObjectBlobs, key: str, size: int) -> None:
        self._blobs = blobs
        self._key = key
        self._size = size
        self._words: NDArray[np.uint32] | None = None

    def put(self, first: int, content: bytes) -> None:
        """See :class:`.kinds.Uploading`."""
        check_chunk(self._size, first, content)
        chunk, piece = divmod(first, _PIECES)
        if not piece and len(content) == min(CHUNK_SIZE, self._size - chunk * CHUNK_SIZE):
            self._create(self._name(chunk), first, content)
            return
        with suppress(FileNotFoundError):
            if self._blobs.read(self._name(chunk))[piece * PIECE_SIZE :][: len(content)] != content:
                raise other_content(first)
            return
        for number, part in enumerate(split(content), first):
            self._create(self._name(chunk, number), number, part)

    def held(self) -> bytes:
        """Which pieces are stored: bit i, little-endian bits."""
        return bits(self._marks())

    def complete(self) -> bool:
        """Whether all pieces are stored."""
        return all(self._marks())

    def digest(self) -> bytes:
        """SHA-256 of the whole vector."""
        digest, words = sha256(), self._fetched()
        for start in range(0, words.size, _HASH_STEP):
            digest.update(words[start : start + _HASH_STEP].tobytes())
        return digest.digest()

    def vector(self) -> NDArray[np.uint32]:
        """The vector, mapped from a file that goes with it: uint32 (rows, 2, N)."""
        return as_vector(self._fetched())

    def discard(self) -> None:
        """Forget all pieces; they can be sent again."""
        self._words = None
        self._blobs.delete(self._key)

    def _fetched(self) -> NDArray[np.uint32]:
        if self._words is None:
            with self._blobs.scratch() as descriptor, ThreadPoolExecutor(_AT_ONCE) as pool:

                def fetch(source: tuple[str, int]) -> None:
                    name, start = source
                    content = self._blobs.read(name)
                    with on_disk():
                        write_at(descriptor, content, start)

                with on_disk():
                    os.ftruncate(descriptor, self._size)
                list(pool.map(fetch, self._sources()))
                with open(descriptor, "rb", closefd=False) as stream:
                    self._words = np.memmap(stream, "<u4", "r")
        return self._words

    def _sources(self) -> Iterator[tuple[str, int]]:
        """The objects that make up the vector, and where in it each begins."""
        there = set(self._blobs.below(self._key))
        for chunk in range(-(-self._size // CHUNK_SIZE)):
            pieces = [(self._name(chunk, number), number * PIECE_SIZE) for number in self._numbers(chunk)]
            if all(name in there for name, _ in pieces):
                yield from pieces
            else:
                yield self._name(chunk), chunk * CHUNK_SIZE

    def _create(self, name: str, first: int, content: bytes) -> None:
        if self._blobs.create(name, content):
            return
        try:
            before = self._blobs.read(name)
        except FileNotFoundError:  # somebody else's was under way, and came to nothing
            raise _unavailable() from None
        if before != content:
            raise other_content(first)

    def _numbers(self, chunk: int) -> range:
        return range(chunk * _PIECES, min((chunk + 1) * _PIECES, -(-self._size // PIECE_SIZE)))

    def _name(self, chunk: int, piece: int | None = None) -> str:
        return f"{self._key}/{chunk:06d}" + ("" if piece is None else f".{piece:06d}")

    def _marks(self) -> bytes:
        there = set(self._blobs.below(self._key))
        return bytes(
            self._name(chunk) in there or self._name(chunk, number) in there
            for chunk in range(-(-self._size // CHUNK_SIZE))
            for number in self._numbers(chunk)
        )


@contextmanager
def answering() -> Iterator[None]:
    """What the storage says, as this server's errors."""
    from obstore.exceptions import BaseError

    try:
        yield
    except BaseError as error:
        _log.warning("the storage failed: %s", _reason(error))
        raise _unavailable() from None


def _open(bucket: str, prefix: str) -> "S3Store":
    try:
        from obstore.store import S3Store
    except ModuleNotFoundError as error:
        raise UserError(
            "[server] blobs in S3-compatible storage needs a package that is not installed: obstore.",
            advice='Install it where the server is: pip install "obstore"',
        ) from error
    return S3Store(
        bucket,
        prefix=prefix or None,
        disable_bulk_delete=True,  # not every storage has it
        client_options={
            "allow_http": os.environ.get("AWS_ALLOW_HTTP", "").lower() == "true",
            "connect_timeout": timedelta(seconds=5),
            "timeout": timedelta(seconds=120),
        },
        retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=20)},
    )


def _unavailable() -> UnavailableError:
    return UnavailableError(
        "The server's storage fails or does not answer.",
        advice="Nothing is lost. Try again later; the operator finds this in the log.",
    )


def _reason(error: Exception) -> str:
    told = str(error).split("\n\nDebug source", 1)[0]
    for name in _SECRETS:
        with suppress(KeyError):
            if os.environ[name]:
                told = told.replace(os.environ[name], "***")
    return " ".join(told.split())[:400]
