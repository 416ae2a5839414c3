"""Operators at the dashboard: login links that are good once, and sessions. Both are kept as hashes alone."""

from sqlalchemy import Connection, delete, func, insert, select

from fedit_shared.errors import UnauthorizedError

from .tables import login_links, operator_sessions


class Operators:
    """Rows about operators; each method works in the caller's transaction. Times are Unix seconds."""

    def expect(self, connection: Connection, token_hash: bytes, expires: float) -> None:
        """Store a new login link."""
        connection.execute(insert(login_links).values(token_hash=token_hash, expires=expires))

    def enter(
        self, connection: Connection, token_hash: bytes, secret_hash: bytes, *, now: float, expires: float
    ) -> None:
        """Begin a session, at the cost of the link. What has expired is forgotten.

        Raises UnauthorizedError for a link that is unknown, used or too old; whoever uses one twice at the same time,
        at two replicas, has one session.
        """
        connection.execute(delete(login_links).where(login_links.c.expires < now))
        connection.execute(delete(operator_sessions).where(operator_sessions.c.expires < now))
        used = connection.execute(delete(login_links).where(login_links.c.token_hash == token_hash))
        if used.rowcount != 1:
            raise UnauthorizedError(
                "This login link was used before, or is too old.", advice="Make another: `fedit-server login DIR`."
            )
        values = {"secret_hash": secret_hash, "created": now, "expires": expires}
        connection.execute(insert(operator_sessions).values(**values))

    def is_in(self, connection: Connection, secret_hash: bytes, now: float) -> bool:
        """Whether this session is one, and not over."""
        query = select(operator_sessions.c.expires).where(operator_sessions.c.secret_hash == secret_hash)
        expires = connection.execute(query).scalar()
        return expires is not None and now < expires

    def leave(self, connection: Connection, secret_hash: bytes) -> None:
        """End a session."""
        connection.execute(delete(operator_sessions).where(operator_sessions.c.secret_hash == secret_hash))

    def forget_all(self, connection: Connection, now: float) -> int:
        """End all sessions, and let no link be good any more; how many sessions were not over."""
        lasting = select(func.count()).select_from(operator_sessions).where(operator_sessions.c.expires > now)
        count = connection.execute(lasting).scalar_one()
        for table in (login_links, operator_sessions):
            connection.execute(delete(table))
        return count
