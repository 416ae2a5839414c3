"""A backup put back, so that what the server has forgotten since can mislead nobody.

Devices may have seen rosters, lists of survivors, results and adapter versions that came after the backup. No second
one of these may ever be made for the same round. So every round that was open is ended, and the next one gets a number
that no device can have seen: a device that asks for a round in between is told that it is over without it.
"""

import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
from sqlalchemy import func, inspect, select, text

from fedit_shared.errors import FeditError, UserError

from ..config import Config
from ..driver.opening import Plans, next_proposal
from ..driver.work import Tools
from ..layout import Layout, write_private
from ..ledger import Ledger, Proposal
from ..lock import is_served
from ..rounds.effects import end_without, forsake
from ..rounds.events import RoundOpened
from ..storage.folders import sync_folder
from ..storage.rooms import Rooms
from ..store import Database, Journal, Operators
from ..store.tables import events
from ..task import make_task
from ..toml_file import with_values
from .backup import BLOBS, DATABASE, Manifest, copy_rows, read_manifest

ROUNDS_A_DAY = 1000
"""More than a federation can have begun since a backup, for each day of its age."""
_DAY = 86400.0


class Restored(NamedTuple):
    """What was put back. ``given_up``: rounds that were open; ``after``: the next round has a higher number than this,
    None if there will be none."""

    manifest: Manifest
    given_up: list[int]
    after: int | None


def restore(backup: Path, folder: Path, database: str | None = None, blobs: str | None = None) -> Restored:
    """Put ``backup`` into the new or empty ``folder``. ``database``, ``blobs``: other ones than its settings have; they
    are written into those of ``folder``.

    Raises UserError for a backup that is not whole, a folder that is in use, or a database or storage that is not
    empty. Then, or if anything else fails, nothing is left in the folder, nor among the blobs.
    """
    manifest = read_manifest(backup)
    layout = Layout(folder)
    if layout.lock.exists() and is_served(layout):
        raise UserError(f"{folder} is being served.", advice="Stop that server, and name a new folder.")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder} is not an empty folder.", advice="Name a new one, or move the old one away.")
    try:
        return _fill(backup, manifest, layout, {"database": database, "blobs": blobs})
    except BaseException:
        shutil.rmtree(layout.folder, ignore_errors=True)
        raise


def _fill(backup: Path, manifest: Manifest, layout: Layout, places: Mapping[str, str | None]) -> Restored:
    for name in manifest.files:
        if name != DATABASE and not name.startswith(f"{BLOBS}/"):
            write_private(layout.folder / name, (backup / name).read_bytes())
    if named := {key: place for key, place in places.items() if place is not None}:
        settings = layout.config_file.read_text(encoding="utf-8")
        layout.config_file.write_text(with_values(settings, named, section="server"), encoding="utf-8")
    config = layout.load()
    blobs = layout.blobs(config)
    if not blobs.empty():
        raise UserError(
            f"{blobs.place('')} is not empty.", advice="Move it away, or name another folder or bucket: --blobs WHERE."
        )
    _require_empty(layout, config)
    keys = [name.removeprefix(f"{BLOBS}/") for name in manifest.files if name.startswith(f"{BLOBS}/")]
    try:
        for key in keys:
            blobs.write(key, (backup / BLOBS / key).read_bytes())
        opened = _put_database(backup, layout, config)
        try:
            found = _go_on(layout, config, opened, manifest)
        finally:
            opened.close()
    except BaseException:
        with suppress(FeditError):  # what went wrong is what has to be told
            for key in keys:
                blobs.delete(key)
        raise
    sync_folder(layout.folder)
    return found


def _require_empty(layout: Layout, config: Config) -> None:
    """Raise UserError for a database with anything in it, before anything is put anywhere."""
    file = layout.database_file(config)
    if file is None:
        database = Database(layout.database_url(config))
        with database.begin() as connection:
            used = bool(inspect(connection).get_table_names())
        database.close()
    else:
        used = file.exists()
    if used:
        raise UserError("The database is not empty.", advice="Make a new one, and name it: --database URL.")


def _put_database(backup: Path, layout: Layout, config: Config) -> Database:
    file = layout.database_file(config)
    if file is not None:
        write_private(file, (backup / DATABASE).read_bytes())
        target = Database(layout.database_url(config))
        target.migrate()
        return target
    target = Database(layout.database_url(config))
    target.migrate()
    with tempfile.TemporaryDirectory() as aside:
        copied = Path(aside) / DATABASE
        shutil.copyfile(backup / DATABASE, copied)
        source = Database(f"sqlite:///{copied}")
        source.migrate()
        with source.begin() as rows, target.begin() as connection:
            copy_rows(rows, connection)
            last = connection.execute(select(func.max(events.c.seq))).scalar()
            if last is not None:  # rows were given their numbers: the database has to count on from there
                connection.execute(
                    text("SELECT setval(pg_get_serial_sequence('events', 'seq'), :last)"), {"last": last}
                )
        source.close()
    return target


def _go_on(layout: Layout, config: Config, database: Database, manifest: Manifest) -> Restored:
    key, now = layout.signing_key(), time.time()
    ledger = Ledger(database, key)
    ledger.load()
    moment = time.strftime("%Y-%m-%d %H:%M:%SZ", time.gmtime(manifest.created))
    reason = f"the server was put back to its backup of {moment}"
    with database.begin() as connection:
        Operators().forget_all(connection, now)  # one that was ended since would be good again
        numbers = [kept.round for kept in Journal().reports(connection)]
    live = [round for number in numbers if (round := ledger.live(number)) is not None]
    for round in live:
        _record(ledger, [Proposal(round.number, event) for event in forsake(round, reason)], now)
    gap = ROUNDS_A_DAY * (1 + int(max(0.0, now - manifest.created) // _DAY))
    blobs = layout.blobs(config)
    tools = Tools(config, key, blobs, Rooms(blobs), os.urandom)
    plans = Plans.of(make_task(config, layout.adapter))
    with database.begin() as connection:
        proposal = next_proposal(connection, tools, plans, ledger.current, os.urandom(32))
    given_up = [round.number for round in live]
    if proposal is None or not isinstance(proposal.event, RoundOpened):  # the federation has finished
        return Restored(manifest, given_up, None)
    number = max(numbers, default=0) + gap
    opened = msgspec.structs.replace(proposal.event, round=number)
    _record(ledger, [Proposal(number, opened)], now)
    current = ledger.current
    assert current is not None, "just opened"
    skipped = f"{reason}; the numbers before this one may have been given since"
    _record(ledger, [Proposal(number, end_without(current, "abandoned", skipped))], now)
    return Restored(manifest, given_up, number)


def _record(ledger: Ledger, proposals: Sequence[Proposal], now: float) -> None:
    for refused in ledger.record(proposals, now).outcomes:
        if refused is not None:
            raise FeditError(f"The backup's rounds cannot be ended: {refused.message}", advice="Put another one back.")
