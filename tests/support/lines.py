"""A line between clients and a server that is slow, breaks, goes silent or is not there, as a test tells it to.

It relays TCP: TLS goes through from end to end, as it does through every router between a home and a server.
"""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

HOME_UPLINK = 20e6 / 8
"""Bytes per second."""
_PIECE = 8192
_BUFFER = 64 * 1024
_QUEUED = 64

Way = Literal["up", "down"]


class _BrokenError(Exception):
    pass


@dataclass
class Line:
    """A relay to ``port``. What ails it may be changed while it is open, for connections that are there too.

    ``rate``: bytes per second each way, for all connections together. ``delay``: seconds each way. ``cut_after``,
    ``cut_down_after``: bytes up or down after which a connection is reset. ``cut_every``: all connections are reset
    every so many seconds. ``cut_idle``: a connection is reset that was silent for so many seconds. ``swallow_after``: a
    connection that has carried so many bytes up carries nothing more either way, and nobody is told. ``connects``:
    CONNECT requests are answered as a proxy does, whatever host they name, and noted in ``asked``.

    ``bytes_up``, ``bytes_down``: what has gone over the line, broken connections included. ``opened``: connections.
    """

    port: int
    rate: float | None = None
    delay: float = 0.0
    cut_after: int | None = None
    cut_down_after: int | None = None
    cut_every: float | None = None
    cut_idle: float | None = None
    swallow_after: int | None = None
    connects: bool = False
    bytes_up: int = 0
    bytes_down: int = 0
    opened: int = 0
    asked: list[str] = field(default_factory=list)
    _free_at: dict[Way, float] = field(default_factory=dict)
    _there: set["_Relay"] = field(default_factory=set)
    _server: asyncio.Server | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[int]:
        """The port at which the line begins."""
        near = await self._listen(0)
        cutting = asyncio.create_task(self._cut_often())
        try:
            yield near
        finally:
            cutting.cancel()
            self._close()

    @asynccontextmanager
    async def away(self, near: int) -> AsyncIterator[None]:
        """Meanwhile nobody listens at the line's beginning, the port ``near``: connections are refused."""
        self._close()
        try:
            yield
        finally:
            await self._listen(near)

    def cut(self) -> None:
        """Reset all connections."""
        for relay in list(self._there):
            relay.cut()

    async def carried(self, size: int) -> None:
        """Wait until so many more bytes have gone up."""
        until = self.bytes_up + size
        for _ in range(24000):
            if self.bytes_up >= until:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(f"nothing like {size} bytes goes up")

    async def _listen(self, port: int) -> int:
        with socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER)  # else it would take what is not sent
            listening.bind(("127.0.0.1", port))
            self._server = await asyncio.start_server(self._relay, sock=listening.dup(), limit=_PIECE)
            return int(listening.getsockname()[1])

    def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()

    async def _cut_often(self) -> None:
        while True:
            await asyncio.sleep(self.cut_every or 0.1)
            if self.cut_every is not None:
                self.cut()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.opened += 1
        if self.connects:
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked.append(head.split(b"\r\n")[0].decode())
            writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self.port, limit=_PIECE)
        except OSError:
            _reset(writer)
            return
        relay = _Relay(self, (reader, writer), (far_reader, far_writer))
        self._there.add(relay)
        try:
            await relay.run()
        finally:
            self._there.discard(relay)

    async def carry(self, way: Way, size: int) -> None:
        """Return when so many more bytes have gone over the line."""
        if self.rate is not None:
            now = asyncio.get_running_loop().time()
            self._free_at[way] = max(now, self._free_at.get(way, now)) + size / self.rate
            await asyncio.sleep(self._free_at[way] - now)
        if way == "up":
            self.bytes_up += size
        else:
            self.bytes_down += size


class _Relay:
    """One connection over the line."""

    def __init__(
        self,
        line: Line,
        near: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        far: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        self._line = line
        self._near, self._far = near, far
        self._passed: dict[Way, int] = {"up": 0, "down": 0}
        self._dead = False
        self._heard = asyncio.get_running_loop().time()
        self._work: asyncio.Future[object] | None = None

    async def run(self) -> None:
        """Until either end has gone, or the line has cut it."""
        (near_reader, near_writer), (far_reader, far_writer) = self._near, self._far
        work = [self._way("up", near_reader, far_writer), self._way("down", far_reader, near_writer), self._listen()]
        tasks = [asyncio.ensure_future(one) for one in work]
        self._work = asyncio.gather(*tasks)
        try:
            with suppress(_BrokenError, OSError, asyncio.CancelledError):
                await self._work
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for end in (near_writer, far_writer):
                _reset(end)

    def cut(self) -> None:
        """Reset both ends."""
        if self._work is not None:
            self._work.cancel()

    async def _way(self, way: Way, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_QUEUED)
        clock = asyncio.get_running_loop().time

        async def deliver() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(due - clock())
                if not data:
                    raise _BrokenError  # who is at the other end has hung up
                writer.write(data)
                await writer.drain()

        async def take() -> None:
            while True:
                data = await reader.read(_PIECE)
                self._heard = clock()
                await self._line.carry(way, len(data))
                self._passed[way] += len(data)
                self._ail()
                if not self._dead:
                    await queue.put((clock() + self._line.delay, data))
                if not data:
                    return

        await asyncio.gather(take(), deliver())

    def _ail(self) -> None:
        line, up, down = self._line, self._passed["up"], self._passed["down"]
        if _beyond(up, line.cut_after) or _beyond(down, line.cut_down_after):
            raise _BrokenError
        self._dead = self._dead or _beyond(up, line.swallow_after)

    async def _listen(self) -> None:
        clock: Callable[[], float] = asyncio.get_running_loop().time
        while True:
            patience = self._line.cut_idle
            await asyncio.sleep(0.05)
            if patience is not None and clock() - self._heard > patience:
                raise _BrokenError


def _beyond(passed: int, limit: int | None) -> bool:
    return limit is not None and passed > limit


def _reset(writer: asyncio.StreamWriter) -> None:
    """Close at once, by RST, as a router does that has forgotten a connection."""
    with suppress(OSError, AttributeError):
        end = writer.get_extra_info("socket")
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
