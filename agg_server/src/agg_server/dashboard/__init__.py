"""The operator's page: what the server knows of its federation, and what an operator may do about it.

It is served on the same port, below /dashboard, to whoever has logged in (:mod:`.login`). It shows what
docs/threat-model.md lets the server know, and nothing else: there is no single update here to be shown.

A page is made of four small things, and a fifth that finds out whether it is any good:

1. ``views/NAME.py``: pure: what the store or the ledger knows → a NamedTuple of what the page shows;
2. ``pages/NAME.py``: an ``async def page(site, visit)`` that reads (``site.read`` on a worker thread, ``on_ledger`` for
   what the ledger has in memory), makes the view, and ends with ``site.show(visit, "NAME.html", …)``; for what a form
   does another function, which ends with ``see_other("/NAME")``. Its token has been checked before it is called;
3. ``templates/NAME.html``, which extends ``base.html`` and has ``{{ macros.form_token(csrf) }}`` in each form. No
   ``style=``, no ``on…=``, no script: the headers forbid them. A table stands in ``<div class="wide" tabindex="0">``;
4. a line in :data:`PAGES`, with a name if it is to be in the navigation;
5. its path in ``tests/support/dashboard.py``: the tests of security and the browser go to every page there.

What cannot be taken back is asked for once more, on a page of its own (``confirm.html``), so that it works without a
script.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from typing import NamedTuple

from aiohttp import web

from agg_server.driver import Driver
from agg_server.layout import Layout
from agg_server.store import Database
from agg_server.web.handlers import Handler as AnyHandler
from agg_server.web.operator import PREFIX
from agg_server.web.reading import Reader
from fedit_shared.errors import FeditError, NotFoundError

from .live import Live
from .pages import about, adapters, devices, glance, invitations, rounds, session
from .site import Item, Site, Visit, see_other

Handler = Callable[[Site, Visit], Awaitable[web.StreamResponse]]


class Page(NamedTuple):
    """``path``: below /dashboard; ``name``: in the navigation, if it is there."""

    method: str
    path: str
    handler: Handler
    name: str = ""


PAGES = (
    Page("GET", "", glance.page, "At a glance"),
    Page("GET", "/rounds", rounds.all_rounds, "Rounds"),
    Page("GET", "/rounds/{round}", rounds.one_round),
    Page("GET", "/devices", devices.page, "Devices"),
    Page("GET", "/devices/{device}/block", devices.ask_to_block),
    Page("POST", "/devices/{device}/block", devices.block),
    Page("POST", "/devices/{device}/unblock", devices.unblock),
    Page("GET", "/invitations", invitations.page, "Invitations"),
    Page("POST", "/invitations", invitations.make),
    Page("GET", "/invitations/made/{once}", invitations.made),
    Page("GET", "/invitations/{invitation}/revoke", invitations.ask_to_revoke),
    Page("POST", "/invitations/{invitation}/revoke", invitations.revoke),
    Page("GET", "/adapters", adapters.page, "Adapters"),
    Page("GET", "/adapters/{version}", adapters.one),
    Page("GET", "/adapters/{version}/rollback", adapters.ask_to_go_back),
    Page("POST", "/adapters/{version}/rollback", adapters.go_back),
    Page("POST", "/adapters/stay", adapters.stay),
    Page("GET", "/settings", about.settings, "Settings"),
    Page("GET", "/knows", about.knows, "What this server may know"),
    Page("POST", "/logout", session.log_out),
)
"""Everything that takes a session, and is a page or a form."""
FILES = (Page("GET", "/adapters/{version}/download", adapters.download),)
"""What takes a session, and is none."""


class Dashboard:
    """The pages, and the refusals that people see there."""

    def __init__(self, driver: Driver, database: Database, layout: Layout, reader: Reader) -> None:
        self._site = Site(driver, database, layout, reader)
        self._site.navigate([Item(f"{PREFIX}{page.path}", page.name) for page in PAGES if page.name])
        self._live = Live()

    def routes(self) -> list[web.RouteDef]:
        """All routes of the dashboard."""
        site = self._site
        streams = [*FILES, Page("GET", "/live", self._live.stream)]
        return [
            web.get(f"{PREFIX}/login", partial(session.login_page, site)),
            web.post(f"{PREFIX}/login", partial(session.log_in, site)),
            web.get(f"{PREFIX}/static/{{name}}", partial(session.static, site)),
            web.get(f"{PREFIX}/", _begin),
            web.get("/", _begin),
            web.get("/favicon.ico", partial(session.icon, site)),
            *(web.route(page.method, f"{PREFIX}{page.path}", self._guarded(page)) for page in PAGES),
            *(web.get(f"{PREFIX}{page.path}", self._guarded(page), allow_head=False) for page in streams),
            web.route("*", f"{PREFIX}/{{rest:.*}}", _nowhere),
        ]

    def _guarded(self, page: Page) -> AnyHandler:
        return self._site.guarded(partial(page.handler, self._site))

    def refusal(self, error: FeditError) -> web.Response:
        """The page for an error."""
        return self._site.refusal(error)

    def close(self) -> None:
        """The server stops: pages that are kept up to date are let go."""
        self._site.closing.set()


async def _begin(request: web.Request) -> web.StreamResponse:
    return see_other("")


async def _nowhere(request: web.Request) -> web.StreamResponse:
    raise NotFoundError("There is no such page.", advice="Begin at /dashboard.")
