"""The port that a server listens on: connections count from the moment they are made, not from the end of TLS's
handshake, as they do with asyncio's own servers. Else whoever connects and says nothing would count nowhere."""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Coroutine

from aiohttp import web

from ..turns import Turns
from .door import Door
from .limits import network

HANDSHAKE_SECONDS = 10.0
"""TLS's handshake has ended after this time, or the connection has."""
BACKLOG = 1024
_PAUSE_SECONDS = 1.0
_QUIET_SECONDS = 60.0
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_log = logging.getLogger(__name__)


class Port:
    """Open once made by :meth:`open`, until :meth:`close`; connections that were let in go on then."""

    def __init__(self, door: Door, server: web.Server, context: ssl.SSLContext | None) -> None:
        self._door, self._server, self._context = door, server, context
        self._turns = Turns()
        self._tasks: set[asyncio.Task[None]] = set()
        self._sockets: list[socket.socket] = []
        self._refused = 0
        self._told_at = -_QUIET_SECONDS

    @classmethod
    async def open(
        cls, door: Door, server: web.Server, host: str, port: int, context: ssl.SSLContext | None = None
    ) -> "Port":
        """Let in by ``door`` to ``server`` whoever connects, by TLS if there is a ``context``. Raises OSError."""
        opened = cls(door, server, context)
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        try:
            for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
                listening = socket.create_server(address, family=family, backlog=BACKLOG)
                opened._sockets.append(listening)
                listening.setblocking(False)
        except OSError:
            for listening in opened._sockets:
                listening.close()
            raise
        for listening in opened._sockets:
            opened._spawn(opened._accept(listening))
        return opened

    def close(self) -> None:
        """Let nobody in any more; handshakes that are under way are broken off."""
        for task in self._tasks:
            task.cancel()

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listening:
            while True:
                await self._turns.take()
                try:
                    made, peer = await loop.sock_accept(listening)
                except OSError as error:  # or whoever connected has left already
                    if error.errno in _NO_ROOM:
                        self._tell(f"connections wait: {error.strerror}")
                        await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                address = network(str(peer[0]))
                if self._door.enter(address):
                    self._spawn(self._receive(made, address))
                else:
                    made.close()
                    self._refused += 1
                    self._tell("as many are open as [server] connections allows, or half of that from one address")

    async def _receive(self, made: socket.socket, address: str) -> None:
        line = self._door.admit(self._server, address)
        patience = None if self._context is None else HANDSHAKE_SECONDS
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: line,
                made,
                ssl=self._context,
                ssl_handshake_timeout=patience,
                ssl_shutdown_timeout=patience,
            )
        except OSError as error:  # it left, was too slow, or speaks no TLS
            _log.debug("a connection was not made: %s", error)
        finally:
            line.give_up()

    def _tell(self, why: str) -> None:
        """Once a minute at most: whoever knocks again and again is not to fill the disk."""
        now = asyncio.get_running_loop().time()
        if now >= self._told_at + _QUIET_SECONDS:
            _log.warning("%d connections were refused since this was said last: %s", self._refused, why)
            self._refused, self._told_at = 0, now

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
