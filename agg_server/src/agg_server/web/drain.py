"""A stop that answers what is under way.

aiohttp's own stop reads nothing more of a request whose body is still coming: an upload would wait in vain until it is
cut off, and its chunk would have to go up again. So requests are let end before that stop begins.
"""

import asyncio
from contextlib import suppress

from aiohttp import web

from .handlers import Handler


class Drain:
    """Counts the requests that are under way."""

    def __init__(self) -> None:
        self._under_way = 0
        self._idle = asyncio.Event()
        self._stopping = False

    @web.middleware
    async def middleware(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request until it is answered; on a server that stops, its connection has no other."""
        self._under_way += 1
        try:
            response = await handler(request)
            if self._stopping:
                response.force_close()
            return response
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._idle.set()

    async def wait(self, seconds: float) -> None:
        """Return when no request is under way, or after ``seconds``. Nobody is to be let in meanwhile."""
        self._stopping = True
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self._under_way:
                    self._idle.clear()
                    await self._idle.wait()
