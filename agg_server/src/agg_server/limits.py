"""What strangers can make a server do: so many connections, none of them silent, and so many requests a minute."""

import asyncio
import ipaddress
import resource
from collections.abc import Callable

from aiohttp import web

from fedit_shared.messages import ROUTES
from fedit_shared.messages.client import Enrol

from .errors import BusyError
from .handlers import Handler

SILENT_SECONDS = 60.0
"""A connection without a request is let go after this time."""
_UNSIGNED = frozenset({ROUTES[Enrol].path, "/join", "/healthz", "/readyz"})
_MINUTE = 60.0
_SPARE_FILES = 512
_MANY = 1024


class Pace:
    """``per_minute`` requests of each address, a minute's worth of them at once. An IPv6 address counts with its /64:
    whoever has one has them all."""

    def __init__(self, per_minute: int, clock: Callable[[], float]) -> None:
        self._step = _MINUTE / per_minute
        self._clock = clock
        self._paid: dict[str, float] = {}
        """address → until when its requests have used up its pace."""
        self._tidy_at = _MANY

    def take(self, address: str) -> None:
        """Count a request. Raises BusyError for one too many."""
        now, name = self._clock(), _network(address)
        paid = max(self._paid.get(name, now), now) + self._step
        if paid > now + _MINUTE + 1e-6:
            raise BusyError("This address asks too often.", advice="Try again in a minute.")
        self._paid[name] = paid
        if len(self._paid) > self._tidy_at:
            self._paid = {name: until for name, until in self._paid.items() if until > now}
            self._tidy_at = max(_MANY, 2 * len(self._paid))


class Door:
    """Lets connections in: at most ``connections`` at once, and none that stays silent."""

    def __init__(self, connections: int, pace: Pace) -> None:
        self._most = connections
        self._pace = pace
        self._silent: set[object] = set()

    def admit(self, server: web.Server) -> asyncio.BaseProtocol:
        """The protocol of a connection that is being made."""
        if len(server.connections) >= self._most:
            return _Refused()
        handler = server()
        self._silent.add(handler)
        asyncio.get_running_loop().call_later(SILENT_SECONDS, self._let_go, handler)
        return handler

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection speaks; hold those to their pace who need not have joined."""
        self._silent.discard(request.protocol)
        if request.path in _UNSIGNED:
            self._pace.take(request.remote or "")
        return await handler(request)

    def _let_go(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.remove(handler)
            handler.force_close()


class _Refused(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


def make_room(connections: int) -> None:
    """Raise this process's limit of open files to what ``connections`` need, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _network(address: str) -> str:
    return str(ipaddress.ip_network((address, 64), strict=False)) if ":" in address else address
