"""Numbers of requests that were used, for all replicas."""

from collections.abc import Callable

from sqlalchemy import delete
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity.requests import LIFETIME

from .database import Database, unavailable
from .tables import nonces


class SharedNonces:
    """As :class:`agg_server.web.auth.Nonces`, in PostgreSQL: a request that one replica took is refused by the others.

    The table is unlogged: a number costs no write to the disk, and a crash of the database forgets all, as a restart of
    a server that is alone does.
    """

    def __init__(self, database: Database, clock: Callable[[], float]) -> None:
        self._database = database
        self._clock = clock

    def use(self, nonce: bytes) -> None:
        """Raise UnauthorizedError if this was used before, UnavailableError where the database does not answer."""
        row = insert(nonces).values(nonce=nonce, used=self._clock()).on_conflict_do_nothing().returning(nonces.c.used)
        try:
            with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fresh = connection.execute(row).first() is not None
        except DBAPIError as error:
            raise unavailable(error) from error
        if not fresh:
            raise UnauthorizedError("This request was sent before.", advice="Sign it again.")

    def tidy(self) -> None:
        """Forget those whose tokens are good no more, by whatever clock among the replicas."""
        with self._database.begin() as connection:
            connection.execute(delete(nonces).where(nonces.c.used < self._clock() - 4 * LIFETIME))
