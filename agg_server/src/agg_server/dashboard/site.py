"""The dashboard's frame: who is let in, what a handler is given, how answers and refusals look."""

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple, TypeVar
from urllib.parse import parse_qsl

from aiohttp import web
from sqlalchemy import Connection

from agg_server.driver import Driver
from agg_server.errors import GoneError, UnavailableError
from agg_server.layout import Layout
from agg_server.store import Database
from agg_server.watching.logs import SHOWN
from agg_server.web.handlers import Handler
from agg_server.web.operator import PREFIX
from agg_server.web.reading import Reader
from fedit_shared.errors import FeditError, NotFoundError, ProtocolError

from . import login
from .rendering import PRIVATE, Rendering
from .sending import has_left

T = TypeVar("T")
FORM_BYTES = 4096
_FIELDS = 20
_AWAY = "Nothing is lost, and rounds go on when this has passed. The server’s log says why; reload the page then."
_LONG_NAME = re.compile(r"[0-9a-f]{32,}")
_log = logging.getLogger(__name__)


class Visit(NamedTuple):
    """A request of an operator who is logged in. ``form``: what was posted, its token checked; else empty."""

    request: web.Request
    secret: bytes
    form: Mapping[str, str]


class Item(NamedTuple):
    """An entry of the navigation."""

    path: str
    name: str


class Question(NamedTuple):
    """What is asked before something is done that cannot simply be taken back. ``action`` and ``back``: below
    /dashboard."""

    title: str
    question: str
    told: str
    action: str
    button: str
    back: str


class Site:
    """What the pages share: the server behind them, and how they answer."""

    def __init__(self, driver: Driver, database: Database, layout: Layout, reader: Reader) -> None:
        self.driver = driver
        self.database = database
        self.layout = layout
        self.config = driver.tools.config
        self.closing = asyncio.Event()
        """Set once the server stops: what is sent piece by piece has to end."""
        self._reader = reader
        self._navigation: Sequence[Item] = ()
        self._rendering = Rendering({"federation": self.config.federation.name})

    def navigate(self, navigation: Sequence[Item]) -> None:
        """What the navigation shows."""
        self._navigation = navigation

    async def read(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` reads from the database, on a worker thread."""

        def run() -> T:
            with self.database.reading() as connection:
                return work(connection)

        return await self.driver.on_pool(run)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """What ``work`` does in a transaction, where all writes are done; no event is recorded beside it."""

        def run() -> T:
            with self.database.alone() as connection:
                return work(connection)

        return await self.driver.on_ledger(run)

    async def text(self, template: str, **values: object) -> str:
        """A template filled in, on a worker thread."""
        return await self.driver.on_pool(partial(self._rendering.text, template, values))

    async def show(self, visit: Visit, template: str, **values: object) -> web.Response:
        """A page, its template filled in on a worker thread."""
        given = values | {
            "navigation": self._navigation,
            "here": visit.request.path,
            "csrf": login.form_token(visit.secret),
        }
        return await self.driver.on_pool(partial(self._rendering.page, template, given))

    async def ask(self, visit: Visit, question: Question) -> web.Response:
        """A page that asks; yes posts to the question's action."""
        return await self.show(visit, "confirm.html", asked=question)

    def refusal(self, error: FeditError) -> web.Response:
        """The page for an error; for 401 with the form to log in."""
        if isinstance(error, UnavailableError):
            error = UnavailableError(error.message, advice=_AWAY)
        return self._rendering.page("refused.html", {"error": error}, error.http_status)

    def login_page(self) -> web.Response:
        """The page that a login link opens."""
        return self._rendering.page("login.html", {})

    def static(self, name: str) -> web.Response:
        """A static file. Raises NotFoundError."""
        found = self._rendering.static(name)
        if found is None:
            raise NotFoundError("There is no such file.")
        return found

    def guarded(self, page: Callable[[Visit], Awaitable[web.StreamResponse]]) -> Handler:
        """A handler that only operators reach who are logged in, a posted form with its token only."""

        async def handle(request: web.Request) -> web.StreamResponse:
            secret = await self.require_session(request)
            form: Mapping[str, str] = {}
            if request.method == "POST":
                form = await self.form(request)
                login.require_form(secret, form)
                _log.info("%s: POST %s", login.called(secret), _LONG_NAME.sub(_short, request.rel_url.raw_path))
            try:
                return await page(Visit(request, secret, form))
            except ConnectionError:
                if has_left(request):
                    raise GoneError("The browser has left before it was answered.") from None
                raise

        return handle

    async def require_session(self, request: web.Request) -> bytes:
        """The session's secret. Raises UnauthorizedError."""
        secret = login.session_of(request.cookies)
        check = partial(login.require_session, self.database, secret, self.driver.clock())
        return await self.driver.on_pool(check)

    async def form(self, request: web.Request) -> dict[str, str]:
        """The posted form. Raises ProtocolError for what is none, TooLargeError."""
        body = await self._reader.body(request, FORM_BYTES)
        if request.content_type != "application/x-www-form-urlencoded":
            raise ProtocolError("A form was expected.")
        try:
            return dict(parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=_FIELDS, errors="strict"))
        except ValueError:
            raise ProtocolError("The form cannot be read.") from None


def _short(name: re.Match[str]) -> str:
    return name[0][:SHOWN]


def see_other(path: str) -> web.Response:
    """After a form: look there."""
    return web.Response(status=303, headers=PRIVATE | {"Location": f"{PREFIX}{path}"})
