"""What is changed in the database behind the server's back is named: by verify, and by a server that reads it."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from released import RELEASED, unpacked
from server_process import command
from simulated import Simulated
from sqlalchemy import event

from agg_server.errors import CorruptError
from agg_server.layout import Layout
from agg_server.ledger import Ledger
from agg_server.store import Database
from agg_server.upkeep.integrity import examine, require_whole
from fedit_shared.parameters import DEGREE, PRIMES


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A federation with a published round and an open one."""
    folder = unpacked(RELEASED[-1], tmp_path_factory.mktemp("integrity") / "federation").folder
    database = Database(Layout(folder).database_url(Layout(folder).load()))
    database.migrate()
    database.close()
    return folder


class Copy:
    """The federation, of which one value is another for a while."""

    def __init__(self, made: Path, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(made, folder)
        self.layout = Layout(folder)
        self.config = self.layout.load()
        self.file = folder / "server.sqlite3"

    def database(self) -> Database:
        return Database(self.layout.database_url(self.config))

    def damage(self) -> list[str]:
        database = self.database()
        try:
            return examine(self.layout, self.config, database).damage
        finally:
            database.close()

    def values(self, table: str, *columns: str) -> Iterator[tuple[int, str, Any]]:
        """Each value of these columns: its row, its column, itself."""
        with closing(sqlite3.connect(self.file)) as connection:
            rows = connection.execute(f"SELECT rowid, {', '.join(columns)} FROM {table}").fetchall()
        return ((row[0], name, value) for row in rows for name, value in zip(columns, row[1:], strict=True))

    def put(self, table: str, row: int, column: str, value: Any) -> None:
        with closing(sqlite3.connect(self.file)) as connection, connection:
            connection.execute("PRAGMA foreign_keys=OFF")
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (value, row))


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Copy:
    return Copy(made, tmp_path / "federation")


def changed(value: Any) -> Any:
    """The value with one bit of it flipped."""
    match value:
        case bytes():
            middle = len(value) // 2
            return value[:middle] + bytes([value[middle] ^ 1]) + value[middle + 1 :]
        case str():
            return value[:-1] + chr(ord(value[-1]) ^ 1)
        case int():
            return value ^ 1
        case float():
            return value + 1 / 4096
    raise AssertionError(value)


def test_a_changed_event_is_named_by_its_place_and_round(copy: Copy):
    assert copy.damage() == []
    columns = ("time", "kind", "body", "digest")
    values = [value for value in copy.values("events", *columns) if value[1] == columns[value[0] % 4]]
    assert len(values) > 20
    for row, column, value in values:
        copy.put("events", row, column, changed(value))
        assert any(f"event {row} of round" in line and "restore" in line for line in copy.damage()), (row, column)
        copy.put("events", row, column, value)
    assert copy.damage() == []


def test_an_event_that_is_gone_is_missed(copy: Copy):
    [*_, (last, _, _)] = copy.values("events", "time")
    with closing(sqlite3.connect(copy.file)) as connection, connection:
        connection.execute("DELETE FROM events WHERE seq = ?", (last - 1,))
    assert any(f"event {last} of round" in line for line in copy.damage())


def test_a_changed_row_of_a_version_is_named(copy: Copy):
    columns = ("adapter", "parent", "round", "size", "clip")
    values = [value for value in copy.values("adapters", *columns) if value[0] == 1]  # that of the round that is over
    assert len(values) == len(columns)
    for row, column, value in values:
        copy.put("adapters", row, column, changed(value))
        assert copy.damage(), (row, column)
        copy.put("adapters", row, column, value)
    assert copy.damage() == []


def test_a_report_that_says_other_than_the_events_is_named(copy: Copy):
    [row, column, report] = next(copy.values("rounds", "report"))
    for part in (b"adapter_after", b"survivors", b"total_weight", b"ended"):
        before, name, after = report.partition(part)
        assert name
        place = 4 if part in (b"adapter_after", b"survivors") else 1 if part == b"ended" else 0
        other = after[:place] + bytes([after[place] ^ 1]) + after[place + 1 :]
        copy.put("rounds", row, column, before + name + other)
        assert copy.damage(), part
    copy.put("rounds", row, column, report)
    assert copy.damage() == []


def test_a_text_that_is_none_is_named(copy: Copy):
    [(row, _, _), *_] = copy.values("devices", "status")
    with closing(sqlite3.connect(copy.file)) as connection, connection:
        connection.execute("UPDATE devices SET client_version = CAST(x'61ff62' AS TEXT) WHERE rowid = ?", (row,))
    told = command("devices", copy.folder)
    assert told.returncode == 1
    assert "is damaged" in told.stderr
    assert "Traceback" not in told.stderr


def test_an_upload_that_changed_on_disk_after_its_receipt_fails_its_cohort_instead_of_going_into_the_sum(
    tmp_path: Path,
):
    """By one in one slot: the sum would open, and nothing in it would tell."""
    sim = Simulated(tmp_path, 5, cohort_target=5)
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices)
    sim.vote(*sim.devices)
    device = sim.devices[0]
    file = next((tmp_path / "blobs").rglob(f"uploads/{device.identity.hex()}"))
    vector = np.memmap(file, "<u4", "r+").reshape(-1, 2, DEGREE)
    vector[0, :, 0] = (vector[0, :, 0] + np.uint32(1)) % np.array(PRIMES, np.uint32)
    vector.base.flush()
    sim.answer(*sim.devices)
    [cohort] = sim.finished(1).cohorts
    assert (cohort.outcome, cohort.loss) == ("failed", None)
    assert cohort.reason == f"The upload of device {device.identity.hex()[:16]} on the server's disk is damaged."


def test_a_server_does_not_go_on_from_a_changed_event(copy: Copy):
    database = copy.database()
    ledger = Ledger(database, copy.layout.signing_key())
    ledger.load()
    [*_, (row, column, value)] = copy.values("events", "body")
    copy.put("events", row, column, changed(value))
    with pytest.raises(CorruptError, match=f"event {row} of round 2 "):
        ledger.load()
    database.close()
    told = command("serve", copy.folder)
    assert told.returncode == 1
    assert f"event {row} of round 2 is not what was recorded" in told.stderr
    assert "Traceback" not in told.stderr


def test_a_look_through_the_database_keeps_nobody_from_writing(copy: Copy):
    database = copy.database()
    written: list[str] = []

    def write(connection: Any, cursor: Any, statement: str, *more: Any) -> None:
        if "_check" in statement:
            with closing(sqlite3.connect(copy.file, timeout=0, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                other.execute("COMMIT")
            written.append(statement)

    event.listen(database.engine, "before_cursor_execute", write)
    try:
        require_whole(database)
        assert examine(copy.layout, copy.config, database).damage == []
    finally:
        database.close()
    assert written == ["PRAGMA quick_check(1)", "PRAGMA integrity_check(20)"]
