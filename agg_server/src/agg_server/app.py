"""The web application: routes, limits, and errors as Refused messages."""

import logging
import re
import time

from aiohttp import web
from aiohttp.typedefs import Middleware

from fedit_shared.errors import FeditError, IncompatibleError, NotFoundError, ProtocolError, UnauthorizedError
from fedit_shared.installing import UPGRADE_CLIENT, UPGRADE_SERVER
from fedit_shared.messages import PROTOCOL_HEADER, PROTOCOL_VERSION, Refused

from .driver.service import Service
from .errors import GoneError
from .handlers import Handler, reply, routes
from .join_page import join_page
from .metrics import Metrics
from .reading import Reader

_VERSIONED = re.compile(r"/v\d+/")
_log = logging.getLogger(__name__)
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def make_app(service: Service, reader: Reader, metrics: Metrics, federation_name: str) -> web.Application:
    """The application that a federation's server runs."""
    app = web.Application(middlewares=[_answering(metrics), _versioned])
    app.add_routes(routes(service, reader))
    page = join_page(federation_name)

    async def join(request: web.Request) -> web.StreamResponse:
        return web.Response(text=page, content_type="text/html", headers=_PAGE_HEADERS)

    async def healthy(request: web.Request) -> web.StreamResponse:
        return web.Response(text="ok\n")

    async def ready(request: web.Request) -> web.StreamResponse:
        working = await service.ready()
        return web.Response(text="ready\n" if working else "not ready\n", status=200 if working else 503)

    app.add_routes([web.get("/join", join), web.get("/healthz", healthy), web.get("/readyz", ready)])
    return app


def make_metrics_app(metrics: Metrics) -> web.Application:
    """The application on the operator's own address: /metrics."""

    async def page(request: web.Request) -> web.StreamResponse:
        return web.Response(body=metrics.page(), headers={"Content-Type": "text/plain; version=0.0.4"})

    app = web.Application()
    app.add_routes([web.get("/metrics", page)])
    return app


def _answering(metrics: Metrics) -> Middleware:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except GoneError as error:
            _log.debug("%s %s: %s", request.method, request.path, error)
            response = _refuse(error)
        except FeditError as error:
            if error.http_status >= 500:
                _log.error("%s %s: %s", request.method, request.path, error)
            response = _refuse(error)
        except web.HTTPException as error:
            kind = NotFoundError if error.status in (404, 405) else ProtocolError
            response = _refuse(kind(f"The server refuses this request: {error.reason}."))
        except Exception:
            _log.exception("%s %s failed", request.method, request.match_info.route.resource)
            response = _refuse(FeditError("The server failed.", advice="Nothing is lost. Try again later."))
        response.headers[PROTOCOL_HEADER] = str(PROTOCOL_VERSION)
        response.headers["Server"] = "fedit-server"
        resource = request.match_info.route.resource
        metrics.request(resource.canonical if resource else "none", response.status, request.get("received", 0))
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


def _line(text: str) -> str:
    return "".join(letter if letter.isprintable() else " " for letter in text[:400])


def _refuse(error: FeditError) -> web.Response:
    message = Refused(
        code=error.code,
        message=_line(error.message),
        advice=_line(error.advice),
        server_time=int(time.time()) if isinstance(error, UnauthorizedError) else None,
    )
    response = reply(message, error.http_status)
    if error.http_status in (429, 503):
        response.headers["Retry-After"] = "10"
    return response
