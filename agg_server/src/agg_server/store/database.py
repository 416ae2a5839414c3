"""The database behind the store: SQLite in the federation's folder, which one process serves, or PostgreSQL by URL,
which several serve together."""

import logging
import os
import socket
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url, text
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from agg_server.errors import CorruptError, FullError, UnavailableError
from fedit_shared.errors import FeditError, UserError
from fedit_shared.installing import UPGRADE_SERVER

BUSY_SECONDS = 5.0
_NO_TEXT = "Could not decode to UTF-8"
_SIGNS_OF_DAMAGE = ("database disk image is malformed", "file is not a database", _NO_TEXT)
CHANNEL = "fedit"
"""Where PostgreSQL tells the replicas that something was recorded."""
LOCKS = 0xFED17
"""Advisory locks of PostgreSQL are two numbers; this is the first of ours. A database holds one federation."""
LEADER, JOURNAL = 1, 2
_PARAMETERS = {
    "application_name": f"fedit-server {socket.gethostname()}/{os.getpid()}",
    "connect_timeout": "5",
    "keepalives_idle": "5",
    "keepalives_interval": "5",
    "keepalives_count": "2",
    "tcp_user_timeout": "15000",
}
"""libpq's, unless the URL has its own: a database that is gone without a word is noticed within seconds."""
_SESSION = f"""
    SET lock_timeout = {BUSY_SECONDS * 1000:.0f};
    SET idle_in_transaction_session_timeout = 10000;
    SET tcp_keepalives_idle = 5; SET tcp_keepalives_interval = 5; SET tcp_keepalives_count = 2;
"""
"""And the other way round: a replica that is gone, or frozen in a transaction, does not hold up the others."""
_log = logging.getLogger(__name__)


class Database:
    """Transactions. Each is durable when its ``with`` block ends, or nothing of it is.

    ``shared``: other processes may record events in it as well. ``replica``: by what they tell this one.
    """

    def __init__(self, url: str, busy_seconds: float = BUSY_SECONDS) -> None:
        """``busy_seconds``: how long SQLite waits for another program's transaction."""
        self.replica = os.urandom(8).hex()
        try:
            self._url = _with_driver(make_url(url))
            if self._url.get_backend_name() not in ("sqlite", "postgresql"):
                raise ArgumentError
            self.shared = self._url.get_backend_name() == "postgresql"
            self.engine = _engine(self._url, busy_seconds)
        except ArgumentError as error:  # its text, and the URL's, may hold a password
            raise UserError(
                "The database URL cannot be used.", advice="Set [server] database: sqlite:///FILE or postgresql://…"
            ) from error
        except ModuleNotFoundError as error:
            postgresql = self._url.get_backend_name() == "postgresql"
            package = "psycopg[binary]" if postgresql else error.name
            raise UserError(
                f"The database {shown(self._url)} needs a driver that is not installed: {error.name}.",
                advice=f'Install it where the server is: pip install "{package}"',
            ) from error

    def require_existing(self) -> None:
        """Raise UserError if the database is a file that is not there: opening it would make an empty one."""
        if self._url.get_backend_name() == "sqlite" and not Path(self._url.database or "").is_file():
            raise UserError(f"The database {self._url.database} is missing.", advice="Put it back from a backup.")

    def migrate(self) -> None:
        """Bring the schema up to this version's."""
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self.alone() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except CommandError as error:
            raise UserError(
                f"The database does not fit this version of the server: {error}.",
                advice=f"A newer server made it: {UPGRADE_SERVER}",
            ) from error

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """One transaction. Raises UnavailableError where the database is locked, full or away."""
        with self._named(), self.engine.begin() as connection:
            yield connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """As :meth:`begin`, for reads alone, from any thread: nobody who writes waits for it."""
        with (
            self._named(),
            self.engine.connect().execution_options(reading=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise _damaged(self._url, str(error.orig)) or unavailable(error) from error
        except UnicodeDecodeError as error:  # a text as no release has written it
            raise _damaged(self._url, _NO_TEXT) or error from error

    @contextmanager
    def alone(self) -> Iterator[Connection]:
        """One transaction beside which there is no other of this kind, in any process: what an earlier one committed
        is seen in it. SQLite's are all so. Raises UnavailableError as :meth:`begin`."""
        with self.begin() as connection:
            if self.shared:
                connection.execute(text("SELECT pg_advisory_xact_lock(:a, :b)"), {"a": LOCKS, "b": JOURNAL})
            yield connection

    def announce(self, connection: Connection) -> None:
        """Have the other replicas look, once this transaction is committed."""
        if self.shared:
            connection.execute(text("SELECT pg_notify(:a, :b)"), {"a": CHANNEL, "b": self.replica})

    def is_led(self) -> bool:
        """Whether a replica leads now. Only for a shared database."""
        with self.begin() as connection:
            found = connection.execute(
                text(
                    "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database"
                    " WHERE locktype = 'advisory' AND classid = :a AND objid = :b AND granted"
                    " AND datname = current_database()"
                ),
                {"a": LOCKS, "b": LEADER},
            ).scalar()
        return bool(found)

    def close(self) -> None:
        """Let go of all connections."""
        self.engine.dispose()


def shown(url: URL | str) -> str:
    """A database's URL for people: no password, neither before the host nor among what follows a question mark."""
    url = make_url(url)
    more = "?…" if url.query else ""
    return f"{url.set(query={}).render_as_string(hide_password=True)}{more}"


def _with_driver(url: URL) -> URL:
    """Plain ``postgresql://`` means psycopg 3, whatever SQLAlchemy's own default is."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _engine(url: URL, busy_seconds: float) -> Engine:
    if url.get_backend_name() == "postgresql":
        return _postgresql(url)
    engine = create_engine(url, connect_args={"timeout": busy_seconds, "check_same_thread": False})

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: ConnectionPoolEntry) -> None:
        connection.isolation_level = None  # sqlite3's own transactions begin too late: see _begin
        cursor = connection.cursor()
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        if connection.get_execution_options().get("reading"):
            connection.exec_driver_sql("BEGIN")
        else:
            connection.exec_driver_sql("BEGIN IMMEDIATE")  # a read that later wants to write could fail as locked

    return engine


def _damaged(url: URL, detail: str) -> CorruptError | None:
    if not any(sign in detail for sign in _SIGNS_OF_DAMAGE):
        return None
    return CorruptError(
        f"The database {url.database} is damaged: {detail}.",
        advice="Stop the server, keep a copy of its folder, and put a backup back with `fedit-server restore`.",
    )


def _postgresql(url: URL) -> Engine:
    wanted = {key: value for key, value in _PARAMETERS.items() if key not in url.query}
    engine = create_engine(url, pool_pre_ping=True, pool_size=8, max_overflow=56, connect_args=wanted)

    @event.listens_for(engine, "connect")
    def _configure(connection: Any, record: ConnectionPoolEntry) -> None:
        connection.execute(_SESSION)
        connection.commit()

    return engine


def unavailable(error: DBAPIError) -> FeditError:
    """What a failed statement means to the one who caused it."""
    detail = str(error.orig)
    if isinstance(error, OperationalError) and ("locked" in detail or "lock timeout" in detail):
        return UnavailableError("The database is locked by another program.", advice="Try again in a moment.")
    if isinstance(error, OperationalError) and ("full" in detail or "disk I/O" in detail):
        return FullError("The server's disk is full.", advice="Nothing is lost. Try again later.")
    advice = "Nothing is lost. The operator has to look at it."
    if isinstance(error.orig, sqlite3.Error):
        return UnavailableError(f"The database failed: {detail}.", advice=advice)
    _log.warning("the database failed: %s", " ".join(detail.split()))  # devices need not know where it is
    return UnavailableError("The database fails or does not answer.", advice=advice)
