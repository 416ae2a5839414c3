"""Answers on their way: nobody holds them for ever, nor more of them than this server has memory for.

A line may be as slow as it likes, as long as it takes something now and then.
"""

import asyncio
from collections import Counter
from contextlib import suppress

from aiohttp import web

from ..errors import BusyError
from .handlers import DOWNLOAD_BYTES, Handler
from .limits import Memory

ANSWER_BYTES = 512 * 2**20
"""Of answers in memory, all receivers together …"""
_SHARE = 2
"""… and this part of them to one address."""
EACH = 8
"""Answers on their way to one device: more than any client asks for at once."""
LOOK_SECONDS = 1.0
PATIENT_LOOKS = 30
"""Whoever takes nothing of an answer from so many looks to the next is let go."""


class Answers:
    """Sends what handlers return. :meth:`weigh` is the innermost of an application's middlewares, :meth:`send` the
    outermost."""

    def __init__(self, total: int = ANSWER_BYTES) -> None:
        self._memory = Memory(total, _SHARE, "answer")
        self._under_way: Counter[bytes] = Counter()

    @web.middleware
    async def weigh(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse an answer for which there is no room with BusyError."""
        response = await handler(request)
        if response.prepared:  # it has been sent already, piece by piece
            return response
        device = request.get("signed_by")
        if device is not None and self._under_way[device] >= EACH:
            raise BusyError("This device lets too many answers wait.", advice="Try again in a moment.")
        size = DOWNLOAD_BYTES if isinstance(response, web.FileResponse) else response.content_length or 0
        self._memory.take(request, size)
        if device is not None:
            self._under_way[device] += 1
            request["answered"] = device
        return response

    @web.middleware
    async def send(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Return when the operating system has taken the whole answer, or the line is cut."""
        try:
            response = await handler(request)
            if not response.prepared and request.transport is not None:
                await _deliver(request, request.transport, response)
            return response
        finally:
            self._memory.free(request)
            if (device := request.get("answered")) is not None:
                self._under_way[device] -= 1
                if not self._under_way[device]:
                    del self._under_way[device]


async def _deliver(request: web.Request, transport: asyncio.Transport, response: web.StreamResponse) -> None:
    watch = _Watch(transport)
    try:
        with suppress(ConnectionError):  # nobody is there any more
            await response.prepare(request)
            await response.write_eof()
            while True:
                if not _unsent(transport):
                    return
                await asyncio.sleep(LOOK_SECONDS / 10)
    finally:
        watch.end()


class _Watch:
    """Cuts a line that stands still."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._left = self._still = 0
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)

    def end(self) -> None:
        """Look no more."""
        self._timer.cancel()

    def _look(self) -> None:
        left = _unsent(self._transport)
        self._still = self._still + 1 if left and left == self._left else 0
        self._left = left
        if self._still >= PATIENT_LOOKS:
            self._transport.abort()
        else:
            self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look)


def _unsent(transport: asyncio.Transport) -> int:
    """Bytes that the operating system has yet to take; 0 once the line is cut."""
    if transport.is_closing():
        return 0
    # Of what is encrypted already a TLS transport knows nothing; the one below it does, and is not to be had otherwise.
    below = getattr(getattr(transport, "_ssl_protocol", None), "_transport", None)
    return transport.get_write_buffer_size() + (0 if below is None else below.get_write_buffer_size())
