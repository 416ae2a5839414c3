"""Numbers of requests that were used, for all replicas."""

import time
from collections.abc import Callable

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError

from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity.requests import LIFETIME

from .database import Database, unavailable
from .tables import nonces

KEPT_SECONDS = 4.0 * LIFETIME
_NOW = func.extract("epoch", func.clock_timestamp())


class SharedNonces:
    """As :class:`agg_server.web.auth.Nonces`, in PostgreSQL: a request that one replica took is refused by the others.

    Each is kept for KEPT_SECONDS, however clocks are set meanwhile. The table is unlogged: a number costs no write to
    the disk, and a crash of the database forgets all, as a restart of a server that is alone does.
    """

    def __init__(self, database: Database, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._monotonic = monotonic
        self._looks: list[tuple[float, float]] = []
        """When it was tidied, by the monotonic clock and the database's, rising."""

    def use(self, nonce: bytes, time: int) -> None:
        """Raise UnauthorizedError if this was used before, UnavailableError where the database does not answer."""
        row = insert(nonces).values(nonce=nonce, used=_NOW).on_conflict_do_nothing().returning(nonces.c.used)
        try:
            with self._database.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
                fresh = connection.execute(row).first() is not None
        except DBAPIError as error:
            raise unavailable(error) from error
        if not fresh:
            raise UnauthorizedError("This request was sent before.", advice="Sign it again.")

    def tidy(self) -> None:
        """Forget those that have been here for KEPT_SECONDS of this object's own time: used before a look that is so
        long ago, by the database's clock, and so long ago by that clock now."""
        with self._database.begin() as connection:
            now = float(connection.scalar(select(_NOW)) or 0.0)
            here = self._monotonic()
            self._looks.append((here, now))
            past = [look for look in self._looks if look[0] <= here - KEPT_SECONDS]
            if past:
                self._looks = self._looks[len(past) - 1 :]
                connection.execute(delete(nonces).where(nonces.c.used < min(past[-1][1], now - KEPT_SECONDS)))
