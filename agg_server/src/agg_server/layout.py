"""Where a federation's files lie in its folder."""

import os
from pathlib import Path

from sqlalchemy import make_url

from fedit_shared.errors import UserError
from fedit_shared.identity import SigningKey

from .config import FILE, Config, bucket_and_prefix, load_config
from .storage.blobs import Blobs
from .storage.kinds import Storage
from .storage.objects import ObjectBlobs

MANIFEST = "manifest.json"
"""Of a backup."""


class Layout:
    """Paths of one federation's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.resolve()
        self.config_file = self.folder / FILE
        self.federation_key = self.folder / "keys" / "federation.key"
        self.adapter = self.folder / "adapter"
        self.pinned = self.folder / "tls" / "pinned"
        self.lock = self.folder / "serve.lock"

    @property
    def is_backup(self) -> bool:
        """Whether this is what `fedit-server backup` has written, and not a folder to be served."""
        return (self.folder / MANIFEST).exists()

    def load(self) -> Config:
        """The settings. Raises UserError for a folder that was never initialised, or a broken file."""
        return load_config(self.config_file)

    def path(self, configured: str) -> Path:
        """A path from the settings: relative ones count from the folder."""
        return self.folder / configured

    def database_url(self, config: Config) -> str:
        """The database's URL; a relative SQLite file counts from the folder."""
        url = config.server.database
        prefix = "sqlite:///"
        if url.startswith(prefix) and not url.startswith(prefix + "/"):
            return f"{prefix}{self.folder / url.removeprefix(prefix)}"
        return url

    def database_file(self, config: Config) -> Path | None:
        """SQLite's file; None for a database that is a server."""
        url = make_url(self.database_url(config))
        return Path(url.database or "") if url.get_backend_name() == "sqlite" else None

    def blobs(self, config: Config) -> Storage:
        """The folder, or the storage, for adapters, uploads and sums. Raises UserError for one that cannot be used."""
        bucket = bucket_and_prefix(config.server.blobs)
        if bucket is not None:
            return ObjectBlobs(*bucket, self.folder / "cache")
        return Blobs(self.path(config.server.blobs))

    def disk(self, config: Config) -> Path:
        """The folder whose disk fills."""
        return self.folder if bucket_and_prefix(config.server.blobs) else self.path(config.server.blobs)

    def signing_key(self) -> SigningKey:
        """The federation's key. Raises UserError if it is gone or damaged."""
        try:
            return SigningKey(bytes.fromhex(self.federation_key.read_text(encoding="ascii").strip()))
        except FileNotFoundError:
            raise UserError(
                f"{self.federation_key} is missing.",
                advice="Put it back from a backup: without it nobody can take part in this federation.",
            ) from None
        except (OSError, ValueError) as error:
            raise UserError(
                f"{self.federation_key} cannot be read as a key.",
                advice="Is it readable for the user who runs this? Else put it back from a backup: without it nobody "
                "can take part in this federation.",
            ) from error


def write_private(file: Path, content: bytes) -> None:
    """``content`` in a new file that only its owner can read, on disk when this returns."""
    file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
