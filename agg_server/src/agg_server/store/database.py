"""The database behind the store: SQLite in the federation's folder, or another by URL."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from agg_server.errors import CorruptError, UnavailableError
from fedit_shared.errors import FeditError, UserError
from fedit_shared.installing import UPGRADE_SERVER

BUSY_SECONDS = 5.0
_SIGNS_OF_DAMAGE = ("database disk image is malformed", "file is not a database")


class Database:
    """Transactions. Each is durable when its ``with`` block ends, or nothing of it is."""

    def __init__(self, url: str, busy_seconds: float = BUSY_SECONDS) -> None:
        """``busy_seconds``: how long SQLite waits for another program's transaction."""
        try:
            self._url = _with_driver(make_url(url))
            self._engine = _engine(self._url, busy_seconds)
        except ArgumentError as error:  # its text, and the URL's, may hold a password
            raise UserError(
                "The database URL cannot be used.", advice="Set [server] database: sqlite:///FILE or postgresql://…"
            ) from error
        except ModuleNotFoundError as error:
            postgresql = self._url.get_backend_name() == "postgresql"
            package = "psycopg[binary]" if postgresql else error.name
            raise UserError(
                f"The database {self._url.render_as_string()} needs a driver that is not installed: {error.name}.",
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
            with self.begin() as connection:
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
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise _damaged(self._url, error) or _unavailable(error) from error

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def _with_driver(url: URL) -> URL:
    """Plain ``postgresql://`` means psycopg 3, whatever SQLAlchemy's own default is."""
    return url.set(drivername="postgresql+psycopg") if url.drivername in ("postgresql", "postgres") else url


def _engine(url: URL, busy_seconds: float) -> Engine:
    if url.get_backend_name() != "sqlite":
        return create_engine(url, pool_pre_ping=True)
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
        connection.exec_driver_sql("BEGIN IMMEDIATE")  # a read that later wants to write could fail as locked

    return engine


def _damaged(url: URL, error: DBAPIError) -> CorruptError | None:
    detail = str(error.orig)
    if not any(sign in detail for sign in _SIGNS_OF_DAMAGE):
        return None
    return CorruptError(
        f"The database {url.database} is damaged: {detail}.",
        advice="Stop the server, keep a copy of its folder, and put a backup back with `fedit-server restore`.",
    )


def _unavailable(error: DBAPIError) -> FeditError:
    detail = str(error.orig)
    if isinstance(error, OperationalError) and "locked" in detail:
        return UnavailableError("The database is locked by another program.", advice="Try again in a moment.")
    if isinstance(error, OperationalError) and ("full" in detail or "disk I/O" in detail):
        return UnavailableError("The server's disk is full.", advice="Nothing is lost. Try again later.")
    return UnavailableError(
        f"The database failed: {detail}.", advice="Nothing is lost. The operator has to look at it."
    )
