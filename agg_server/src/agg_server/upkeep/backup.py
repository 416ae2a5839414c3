"""A backup: a folder with everything that a federation needs, each file with its hash in ``manifest.json``.

It is taken beside a running server: first the database as it is at one moment, then the blobs that it names, which
never change. Uploads are not in it: a round that is open then is given up when the backup is put back.
"""

import shutil
import sqlite3
import time
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import msgspec
from sqlalchemy import Connection, select

from fedit_shared.errors import FeditError, UserError
from fedit_shared.identity import federation_id

from .. import __version__
from ..config import FILE, Config
from ..layout import MANIFEST, Layout, write_private
from ..storage.folders import make_folder, sync_folder
from ..store import Database
from ..store.tables import metadata
from .contents import read_whole, wanted

DATABASE = "database.sqlite3"
BLOBS = "blobs"
_ROWS = 200


class File(msgspec.Struct, frozen=True, kw_only=True):
    """One file of a backup."""

    size: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. It is written last: without it a backup is not finished."""

    format: int = 1
    created: float
    federation: str
    release: str
    files: dict[str, File]
    elsewhere: list[str]
    """Files that the settings name outside of the federation's folder: not in the backup."""
    damaged: list[str]
    """Blobs that could not be read whole, with the reason: not in the backup."""


def back_up(layout: Layout, config: Config, out: Path) -> Manifest:
    """Write a backup into the new or empty folder ``out``.

    Raises UserError for a folder that is not empty; then, or if anything else fails, nothing is left there.
    """
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out} is not an empty folder.", advice="Name a new one.")
    existed = out.exists()
    try:
        return _fill(layout, config, out)
    except BaseException:
        shutil.rmtree(out, ignore_errors=True)
        if existed:
            out.mkdir(mode=0o700)
        raise


def _fill(layout: Layout, config: Config, out: Path) -> Manifest:
    make_folder(out.resolve())
    created, elsewhere, damaged = time.time(), [], []
    for path in _own_files(layout, config):
        if not path.is_relative_to(layout.folder):
            elsewhere.append(str(path))
        else:
            write_private(out / path.relative_to(layout.folder), path.read_bytes())
    _copy_database(layout, config, out / DATABASE)
    copy = Database(f"sqlite:///{(out / DATABASE).resolve()}")
    with copy.begin() as connection:
        blobs = wanted(connection, ())
    copy.close()
    store = layout.blobs(config)
    for blob in blobs:
        try:
            data = read_whole(store, blob)
        except FeditError as error:
            damaged.append(error.message)
            continue
        if data is not None:
            write_private(out / BLOBS / blob.key, data)
    manifest = Manifest(
        created=created,
        federation=federation_id(layout.signing_key().public).hex(),
        release=__version__,
        files={str(path.relative_to(out)): _file(path) for path in sorted(out.rglob("*")) if path.is_file()},
        elsewhere=elsewhere,
        damaged=damaged,
    )
    for folder in [*(path for path in out.rglob("*") if path.is_dir()), out]:
        sync_folder(folder)
    write_private(out / MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    sync_folder(out)
    return manifest


def _own_files(layout: Layout, config: Config) -> list[Path]:
    tls = [layout.path(config.server.certificate), layout.path(config.server.key)]
    pinned = [layout.pinned] if layout.pinned.exists() else []
    return [layout.folder / FILE, layout.federation_key, *tls, *pinned, *sorted(layout.adapter.iterdir())]


def _copy_database(layout: Layout, config: Config, target: Path) -> None:
    """The database at one moment, as an SQLite file. Nobody who writes meanwhile has to wait."""
    write_private(target, b"")
    file = layout.database_file(config)
    if file is not None:
        with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(target)) as copy:
            source.backup(copy)
        return
    source_database, copy_database = Database(layout.database_url(config)), Database(f"sqlite:///{target.resolve()}")
    copy_database.migrate()
    with source_database.begin() as source_rows, copy_database.begin() as rows:
        source_rows.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        copy_rows(source_rows, rows)
    source_database.close()
    copy_database.close()


def copy_rows(source: Connection, target: Connection) -> None:
    """All rows of a database of this release into another's empty tables."""
    for table in metadata.sorted_tables:
        found = source.execution_options(yield_per=_ROWS).execute(select(table))
        for part in found.partitions():
            target.execute(table.insert(), [dict(row._mapping) for row in part])


def _file(path: Path) -> File:
    digest = sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return File(size=path.stat().st_size, sha256=digest.hexdigest())


def read_manifest(backup: Path) -> Manifest:
    """A backup's manifest, every file's hash checked. Raises UserError for what is no finished, whole backup."""
    try:
        manifest = msgspec.json.decode((backup / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise UserError(
            f"{backup} is not a finished backup: it has no {MANIFEST}.", advice="Take one with `fedit-server backup`."
        ) from None
    except (OSError, msgspec.MsgspecError) as error:
        raise UserError(f"{backup / MANIFEST} cannot be read: {error}.", advice="Take another backup.") from error
    if manifest.format != 1:
        raise UserError(f"{backup} has format {manifest.format}.", advice="A newer release made it: upgrade.")
    for name, told in manifest.files.items():
        path = backup / name
        if not path.resolve().is_relative_to(backup.resolve()):
            raise UserError(f"The backup names a file outside of it: {name!r}.", advice="Take another backup.")
        if not path.is_file() or _file(path) != told:
            state = "damaged" if path.is_file() else "missing"
            raise UserError(f"{path} is {state}.", advice="Take another copy of the backup, or another backup.")
    return manifest
