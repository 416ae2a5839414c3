"""Who may look at the dashboard: whoever has a login link, and then that browser's session.

A link carries a secret that is good once and for minutes. It stands after ``#``: no server, proxy or log ever sees it
as part of an address. A session's secret is in the browser's cookie alone. The database has the hashes of both, so that
whoever reads it, or a backup, can use neither; replicas share them, and a restart ends nothing. Each form carries a
token that is made of the session's secret: another site cannot know it.
"""

import base64
import binascii
import hmac
import os
from collections.abc import Mapping
from hashlib import sha256

from aiohttp import web

from agg_server.store import Database, Operators
from agg_server.web.operator import PREFIX
from fedit_shared.errors import ForgedError, UnauthorizedError
from fedit_shared.identity.links import TOKEN_SIZE

COOKIE = "__Host-fedit-operator"
"""A browser takes a cookie of such a name only over TLS, for this host alone."""
LINK_SECONDS = 600.0
SESSION_SECONDS = 12 * 3600.0
SECRET_SIZE = 32
FORM_TOKEN = "csrf"
"""The field of every form in which its token is."""
NO_LINK = "Make a login link where the server's folder is: `fedit-server login DIR`."


def make_link(database: Database, address: str, now: float) -> str:
    """A new login link for the dashboard at ``address``, good once until LINK_SECONDS after ``now``."""
    secret = os.urandom(SECRET_SIZE)
    with database.begin() as connection:
        Operators().expect(connection, hashed(secret), now + LINK_SECONDS)
    return f"{address.rstrip('/')}{PREFIX}/login#{_text(secret)}"


def begin_session(database: Database, code: str, now: float) -> bytes:
    """A new session's secret, at the cost of the link with this ``code``, what stands after its ``#``.

    Raises UnauthorizedError for a link that is not known, used or too old.
    """
    link, secret = _secret(code.strip()), os.urandom(SECRET_SIZE)
    if link is None:
        raise UnauthorizedError("This is no login code.", advice=NO_LINK)
    with database.begin() as connection:
        Operators().enter(connection, hashed(link), hashed(secret), now=now, expires=now + SESSION_SECONDS)
    return secret


def session_of(cookies: Mapping[str, str]) -> bytes | None:
    """The session's secret that a browser sends, whether it is good or not; None if it sends none."""
    return _secret(cookies.get(COOKIE, ""))


def require_session(database: Database, secret: bytes | None, now: float) -> bytes:
    """The secret, if its session is not over. Raises UnauthorizedError. From any thread."""
    if secret is None:
        raise UnauthorizedError("Nobody is logged in here.", advice=NO_LINK)
    with database.reading() as connection:
        if not Operators().is_in(connection, hashed(secret), now):
            raise UnauthorizedError("This session is over.", advice=NO_LINK)
    return secret


def end_session(database: Database, secret: bytes) -> None:
    """Log out."""
    with database.begin() as connection:
        Operators().leave(connection, hashed(secret))


def form_token(secret: bytes) -> str:
    """What every form of this session carries."""
    return hmac.digest(secret, b"fedit dashboard form", "sha256").hex()


def join_token(secret: bytes, once: str) -> bytes:
    """The token of the join link that this session makes with the form that carries ``once``: the same, however often
    the form is sent, and to be had by nobody who has not the session's secret."""
    return hmac.digest(secret, b"fedit dashboard join link " + once.encode(), "sha256")[:TOKEN_SIZE]


def require_form(secret: bytes, form: Mapping[str, str]) -> None:
    """Raise ForgedError unless the form came from a page of this session."""
    if not hmac.compare_digest(form_token(secret).encode(), form.get(FORM_TOKEN, "").encode()):
        raise ForgedError("This form is not of this session.", advice="Open the page again, and repeat it there.")


def set_cookie(response: web.StreamResponse, secret: bytes) -> None:
    """Have the browser keep the session's secret."""
    _cookie(response, _text(secret), int(SESSION_SECONDS))


def forget_cookie(response: web.StreamResponse) -> None:
    """Have the browser forget it."""
    _cookie(response, "", 0)


def called(secret: bytes) -> str:
    """A session in the log: what is done in it can be told from what is done in others, and nobody gets in by it."""
    return f"operator's session {hashed(hashed(secret)).hex()[:8]}"


def hashed(secret: bytes) -> bytes:
    """What the database has of a secret. Secrets are random: a plain hash tells nothing of them."""
    return sha256(secret).digest()


def _cookie(response: web.StreamResponse, value: str, seconds: int) -> None:
    response.set_cookie(COOKIE, value, path="/", secure=True, httponly=True, samesite="Strict", max_age=seconds)


def _text(secret: bytes) -> str:
    return base64.urlsafe_b64encode(secret).decode().rstrip("=")


def _secret(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text + "=", altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if len(raw) == SECRET_SIZE and _text(raw) == text else None
