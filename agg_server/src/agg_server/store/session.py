"""Sessions of a replica's own in PostgreSQL: what they hold is free again as soon as the process is gone.

A session is autocommitted: nothing of it waits in a transaction. PostgreSQL ends one from which nothing came for
``SILENT_SECONDS``, so that a replica that is frozen, or cut off, does not keep what it holds.
"""

from contextlib import suppress
from hashlib import sha256
from threading import Lock
from typing import Any, NamedTuple

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from agg_server.errors import UnavailableError

from .database import CHANNEL, LEADER, LOCKS, Database, unavailable

SILENT_SECONDS = 10
LOOK_SECONDS = 1.0
_CLAIMS = LOCKS + 1


class Look(NamedTuple):
    """Whether this process leads, and whether others have recorded something since the last look."""

    leading: bool
    news: bool


class Watch:
    """Leads if nobody else does, and hears of what others record. Belongs to one thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._leading = False

    def look(self) -> Look:
        """How it is now. Takes up to LOOK_SECONDS, less when others record something. Raises UnavailableError where the
        database does not answer: then this process leads no more."""
        try:
            if self._connection is None:
                self._connection = _open(self._database)
                _run(self._connection, f"LISTEN {CHANNEL}")
            if not self._leading:
                self._leading = _lock(self._connection, LOCKS, LEADER)
            raw: Any = self._connection.connection.driver_connection
            heard = list(raw.notifies(timeout=LOOK_SECONDS, stop_after=1))
            _run(self._connection, "SELECT 1")  # it is there, and so is what it holds
        except UnavailableError:
            self.close()
            raise
        except Exception as error:  # the generator's are psycopg's own
            self.close()
            raise UnavailableError("The database does not answer.") from error
        return Look(self._leading, any(note.payload != self._database.replica for note in heard))

    def close(self) -> None:
        """Let another one lead."""
        self._leading = False
        connection, self._connection = self._connection, None
        if connection is not None:
            _end(connection)


class Claims:
    """Things of which one replica has one at a time, by name. From any thread."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._connection: Connection | None = None
        self._held: set[bytes] = set()
        self._lock = Lock()

    def take(self, name: bytes) -> bool:
        """Whether it is ours now: nobody has it. Raises UnavailableError where the database does not answer."""
        with self._lock:
            if name in self._held:
                return False
            if taken := self._lock_it(name):
                self._held.add(name)
            return taken

    def give_back(self, name: bytes) -> None:
        """Let others have it. Nothing happens if it was not taken."""
        with self._lock:
            if name in self._held and self._connection is not None:
                with suppress(UnavailableError):  # then the database has taken it back
                    self._unlock(self._connection, name)
            self._held.discard(name)

    def beat(self) -> None:
        """To be called every few seconds: what is held stays held."""
        with self._lock:
            if self._connection is not None:
                try:
                    _run(self._connection, "SELECT 1")
                except UnavailableError:
                    self._drop()

    def close(self) -> None:
        """Give everything back."""
        with self._lock:
            self._drop()

    def _lock_it(self, name: bytes) -> bool:
        if self._connection is not None:
            try:
                return _lock(self._connection, _CLAIMS, _number(name))
            except UnavailableError:  # the database has ended the session, as of a process that slept: with a new one
                self._drop()
        try:
            self._connection = _open(self._database)
            return _lock(self._connection, _CLAIMS, _number(name))
        except UnavailableError:
            self._drop()
            raise

    def _unlock(self, connection: Connection, name: bytes) -> None:
        try:
            _run(connection, "SELECT pg_advisory_unlock(:a, :b)", a=_CLAIMS, b=_number(name))
        except UnavailableError:
            self._drop()
            raise

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            _end(connection)


def _open(database: Database) -> Connection:
    try:
        connection = database.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
    except DBAPIError as error:
        raise unavailable(error) from error
    _run(connection, f"SET idle_session_timeout = '{SILENT_SECONDS}s'")
    return connection


def _run(connection: Connection, statement: str, **values: object) -> Any:
    """The statement's first value, None for a command."""
    try:
        found = connection.execute(text(statement), values)
        return found.scalar() if found.returns_rows else None
    except DBAPIError as error:
        raise unavailable(error) from error


def _lock(connection: Connection, kind: int, number: int) -> bool:
    return bool(_run(connection, "SELECT pg_try_advisory_lock(:a, :b)", a=kind, b=number))


def _end(connection: Connection) -> None:
    """What it holds is free when this returns, if the database answers. It is not used again: it has settings of its
    own."""
    with suppress(Exception):
        _run(connection, "SELECT pg_advisory_unlock_all()")
    with suppress(Exception):
        connection.invalidate()
    with suppress(Exception):
        connection.close()


def _number(name: bytes) -> int:
    """Two names of the same number wait for each other: seldom, and at no harm."""
    return int.from_bytes(sha256(name).digest()[:4], "little", signed=True)
