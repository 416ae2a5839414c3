"""The connections that a server has: so many, a part of them from one address, and none that stays silent."""

import asyncio
import resource
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler

from fedit_shared.messages import ROUTES
from fedit_shared.messages.client import Enrol

from .limits import Memory, Pace, network
from .operator import is_operators

SILENT_SECONDS = 60.0
"""A connection without a request is let go after this time."""
_LINE_SHARE = 2
"""This part of all connections may come from one address."""
_UNSIGNED = frozenset({ROUTES[Enrol].path, "/join", "/healthz", "/readyz"})
_SPARE_FILES = 512


class Door:
    """Lets connections in: at most ``connections`` at once, half of them from one address, and none that stays
    silent."""

    def __init__(self, connections: int, pace: Pace, memory: Memory) -> None:
        self._most = connections
        self._pace = pace
        self._memory = memory
        self._silent: set[object] = set()
        self._all = 0
        self._lines: Counter[str] = Counter()

    def admit(self, server: web.Server) -> asyncio.BaseProtocol:
        """The protocol of a connection that is being made."""
        return _Line(self, server)

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Note that a connection speaks; hold those to their pace who need not have joined."""
        self._silent.discard(request.protocol)
        if request.path in _UNSIGNED or is_operators(request.path):
            self._pace.take(request.remote or "")
        try:
            return await handler(request)
        finally:
            self._memory.free(request)

    def enter(self, address: str, handler: web.RequestHandler) -> bool:
        """Whether a connection from there may be; then :meth:`leave` follows."""
        if self._all >= self._most or self._lines[address] >= max(1, self._most // _LINE_SHARE):
            return False
        self._all += 1
        self._lines[address] += 1
        self._silent.add(handler)
        asyncio.get_running_loop().call_later(SILENT_SECONDS, self._let_go, handler)
        return True

    def leave(self, address: str, handler: web.RequestHandler) -> None:
        """The connection has ended."""
        self._silent.discard(handler)
        self._all -= 1
        self._lines[address] -= 1
        if not self._lines[address]:
            del self._lines[address]

    def _let_go(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.remove(handler)
            handler.force_close()


class _Line(asyncio.Protocol):
    """A connection: everything is passed on to aiohttp's handler, if the door lets it in."""

    def __init__(self, door: Door, server: web.Server) -> None:
        self._door, self._server = door, server
        self._address = ""
        self._handler: web.RequestHandler | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        peer = transport.get_extra_info("peername")
        self._address = network(str(peer[0])) if peer else ""
        handler = self._server()
        if not self._door.enter(self._address, handler):
            transport.abort()
            return
        self._handler = handler
        handler.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._handler is not None:
            self._handler.data_received(data)

    def eof_received(self) -> None:
        if self._handler is not None:
            self._handler.eof_received()

    def pause_writing(self) -> None:
        if self._handler is not None:
            self._handler.pause_writing()

    def resume_writing(self) -> None:
        if self._handler is not None:
            self._handler.resume_writing()

    def connection_lost(self, error: Exception | None) -> None:
        if self._handler is not None:
            self._door.leave(self._address, self._handler)
            self._handler.connection_lost(error)


def make_room(connections: int) -> None:
    """Raise this process's limit of open files to what ``connections`` need, as far as the system allows it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
