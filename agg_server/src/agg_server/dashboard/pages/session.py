"""/dashboard/login and /dashboard/logout, and the static files: what can be had without a session."""

import logging
from functools import partial

from aiohttp import web

from agg_server.dashboard import login
from agg_server.dashboard.site import Site, Visit, see_other
from fedit_shared.errors import UnauthorizedError

_log = logging.getLogger(__name__)


async def login_page(site: Site, request: web.Request) -> web.StreamResponse:
    """Where a login link leads: its code, after ``#``, is put into the form by the page's script."""
    return site.login_page()


async def log_in(site: Site, request: web.Request) -> web.StreamResponse:
    """The code is exchanged for a session."""
    form = await site.form(request)
    begin = partial(login.begin_session, site.database, form.get("code", ""), site.driver.clock())
    try:
        secret = await site.driver.on_ledger(begin)
    except UnauthorizedError:
        _log.warning("a login at the dashboard was refused, from %s", request.remote)
        raise
    _log.info("%s: logged in, from %s", login.called(secret), request.remote)
    response = see_other("")
    login.set_cookie(response, secret)
    return response


async def log_out(site: Site, visit: Visit) -> web.StreamResponse:
    """The session is over, for every replica."""
    await site.driver.on_ledger(partial(login.end_session, site.database, visit.secret))
    response = see_other("/login")
    login.forget_cookie(response)
    return response


async def static(site: Site, request: web.Request) -> web.StreamResponse:
    """The style, or the script."""
    return site.static(request.match_info["name"])


async def icon(site: Site, request: web.Request) -> web.StreamResponse:
    """What a browser asks for by itself."""
    return site.static("icon.svg")
