"""The web application: routes, limits, and errors as Refused messages."""

import logging
import re
import time
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.typedefs import Middleware

from fedit_shared.errors import FeditError, IncompatibleError, NotFoundError, ProtocolError, UnauthorizedError
from fedit_shared.installing import UPGRADE_CLIENT, UPGRADE_SERVER
from fedit_shared.messages import PROTOCOL_HEADER, PROTOCOL_VERSION, Refused

from ..driver.service import Service
from ..errors import GoneError
from ..turns import Turns
from ..watching.logs import about
from ..watching.metrics import Metrics, Vitals
from .handlers import Handler, reply, routes
from .join_page import join_page
from .operator import OperatorPages, is_operators
from .reading import Reader

RETRY_AFTER = 10
"""Seconds that a server which has too much to do asks for."""
_VERSIONED = re.compile(r"/v\d+/")
_COHORT = re.compile(r"(?:[0-9a-f]{2}){16}")
_log = logging.getLogger(__name__)
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(
    service: Service, reader: Reader, metrics: Metrics, federation_name: str, dashboard: OperatorPages | None = None
) -> web.Application:
    """The application that a federation's server runs. ``dashboard``: the operator's pages, where it has them."""

    def refuse(request: web.Request, error: FeditError) -> web.StreamResponse:
        if dashboard is not None and is_operators(request.path):
            return dashboard.refusal(error)
        return _refuse(error)

    app = web.Application(middlewares=[_answering(metrics, refuse), _versioned])
    app.add_routes(routes(service, reader))
    page = join_page(federation_name)

    async def join(request: web.Request) -> web.StreamResponse:
        return web.Response(text=page, content_type="text/html", headers=_PAGE_HEADERS)

    async def healthy(request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.StreamResponse:
        failing = await service.failing()
        told = f"not ready: {', '.join(failing)}" if failing else "ready"
        return web.Response(text=f"{told}\n", status=503 if failing else 200)

    if dashboard is not None:
        app.add_routes(dashboard.routes())
    app.add_routes([web.get("/join", join), web.get("/healthz", healthy), web.get("/readyz", ready)])
    return app


def make_metrics_app(metrics: Metrics, look: Callable[[], Awaitable[Vitals]]) -> web.Application:
    """The application on the operator's own address: /metrics. ``look`` is asked for each page's numbers."""

    async def page(request: web.Request) -> web.StreamResponse:
        metrics.measured(await look())
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.add_routes([web.get("/metrics", page)])
    return app


def _answering(metrics: Metrics, refuse: Callable[[web.Request, FeditError], web.StreamResponse]) -> Middleware:
    turns = Turns()

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        resource = request.match_info.route.resource
        route = request["route"] = resource.canonical if resource else "none"
        metrics.begun(route)
        try:
            response = await handler(request)
        except GoneError as error:
            _log.debug("%s %s: %s", request.method, route, error, extra=_about(request))
            response = refuse(request, error)
        except FeditError as error:
            if error.http_status >= 500:
                _log.error("%s %s: %s", request.method, route, error, extra=_about(request))
            response = refuse(request, error)
        except web.HTTPException as error:
            kind = NotFoundError if error.status in (404, 405) else ProtocolError
            response = refuse(request, kind(f"The server refuses this request: {error.reason}."))
        except Exception:
            _log.exception("%s %s failed", request.method, route, extra=_about(request))
            response = refuse(request, FeditError("The server failed.", advice="Nothing is lost. Try again later."))
        finally:
            metrics.done(route)
        if response.status in (429, 503) and not response.prepared:
            response.headers.setdefault("Retry-After", str(RETRY_AFTER))
        response.headers[PROTOCOL_HEADER] = str(PROTOCOL_VERSION)
        response.headers["Server"] = "fedit-server"
        await turns.take()  # to be encrypted and sent
        return response

    return middleware


@web.middleware
async def _versioned(request: web.Request, handler: Handler) -> web.StreamResponse:
    if _VERSIONED.match(request.path):
        spoken = request.headers.get(PROTOCOL_HEADER, "none")
        if spoken != str(PROTOCOL_VERSION):
            newer = spoken.isascii() and spoken.isdigit() and len(spoken) < 6 and int(spoken) > PROTOCOL_VERSION
            raise IncompatibleError(
                f"This server speaks version {PROTOCOL_VERSION} of the protocol, the request version {spoken[:20]!a}.",
                advice=f"The operator has to {UPGRADE_SERVER}" if newer else UPGRADE_CLIENT,
            )
    return await handler(request)


def _about(request: web.Request) -> dict[str, object]:
    """The device is known only where the request was signed by one that has joined, or claims to be."""
    cohort = request.match_info.get("cohort", "")
    known = bytes.fromhex(cohort) if _COHORT.fullmatch(cohort) else None
    return about(cohort=known, device=request.get("device"))


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:400])


def _refuse(error: FeditError) -> web.Response:
    message = Refused(
        code=error.code,
        message=_line(error.message),
        advice=_line(error.advice),
        server_time=int(time.time()) if isinstance(error, UnauthorizedError) else None,
    )
    return reply(message, error.http_status)
