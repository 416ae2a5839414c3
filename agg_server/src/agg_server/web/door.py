"""The connections that a server has: so many, a part of them from one address, and none that stays silent."""

import asyncio
import resource
from collections import Counter

from aiohttp import web
from aiohttp.typedefs import Handler

from fedit_shared.messages import ROUTES
from fedit_shared.messages.client import Enrol

from .limits import Memory, Pace
from .operator import is_operators

SILENT_SECONDS = 60.0
"""A connection without a request is let go after this time."""
_LINE_SHARE = 2
"""This part of all connections may come from one address."""
_UNSIGNED = frozenset({ROUTES[Enrol].path, "/join", "/healthz", "/readyz"})
_SPARE_FILES = 512
_FEWEST = 16


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

    @property
    def connections(self) -> int:
        """How many there are, those whose handshake has not ended included."""
        return self._all

    def enter(self, address: str) -> bool:
        """Whether a connection from there may be; then it counts until :meth:`admit`'s line has ended."""
        if self._all >= self._most or self._lines[address] >= max(1, self._most // _LINE_SHARE):
            return False
        self._all += 1
        self._lines[address] += 1
        return True

    def admit(self, server: web.Server, address: str) -> "Line":
        """The protocol of a connection that has entered from there."""
        return Line(self, server, address)

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

    def opened(self, handler: web.RequestHandler) -> None:
        """The connection is made; it has yet to say something."""
        self._silent.add(handler)
        asyncio.get_running_loop().call_later(SILENT_SECONDS, self._let_go, handler)

    def leave(self, address: str, handler: web.RequestHandler | None) -> None:
        """A connection that entered has ended."""
        self._silent.discard(handler)
        self._all -= 1
        self._lines[address] -= 1
        if not self._lines[address]:
            del self._lines[address]

    def _let_go(self, handler: web.RequestHandler) -> None:
        if handler in self._silent:
            self._silent.remove(handler)
            handler.force_close()


class Line(asyncio.Protocol):
    """A connection that was let in: everything is passed on to aiohttp's handler."""

    def __init__(self, door: Door, server: web.Server, address: str) -> None:
        self._door, self._server, self._address = door, server, address
        self._handler: web.RequestHandler | None = None
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._handler = self._server()
        self._door.opened(self._handler)
        self._handler.connection_made(transport)
        transport.set_write_buffer_limits(high=1)  # whoever takes nothing has nothing more read for it

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
        self._end()
        if self._handler is not None:
            self._handler.connection_lost(error)

    def give_up(self) -> None:
        """Nothing if the connection was made; else it will not be."""
        if self._handler is None:
            self._end()

    def _end(self) -> None:
        if not self._ended:
            self._ended = True
            self._door.leave(self._address, self._handler)


def make_room(connections: int) -> int:
    """Raise this process's limit of open files to what ``connections`` need, as far as the system allows it; how many
    connections there is room for then."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections + _SPARE_FILES
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
        soft = most
    return connections if soft == resource.RLIM_INFINITY else min(connections, max(_FEWEST, soft - _SPARE_FILES))
