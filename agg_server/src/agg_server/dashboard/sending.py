"""An answer that is sent piece by piece, to a browser that may stall or leave, by a server that may stop."""

import asyncio

from aiohttp import web

SEND_SECONDS = 30.0
"""A browser that takes nothing for so long is let go."""


def has_left(request: web.Request) -> bool:
    """Whether nobody is at the other end any more."""
    return request.transport is None or request.transport.is_closing()


class Sending:
    """``response`` is prepared. ``closing``: set once the server stops."""

    def __init__(self, request: web.Request, response: web.StreamResponse, closing: asyncio.Event) -> None:
        self._request = request
        self._response = response
        self._closing = closing

    @property
    def over(self) -> bool:
        """Whether there is no more to be sent: the browser has left, or the server stops."""
        return self._closing.is_set() or has_left(self._request)

    async def send(self, part: bytes) -> bool:
        """Whether it has gone out. If not, the line is cut, so that the browser takes nothing for whole."""
        writing = asyncio.ensure_future(self._response.write(part))
        stopping = asyncio.ensure_future(self._closing.wait())
        try:
            await asyncio.wait({writing, stopping}, timeout=SEND_SECONDS, return_when=asyncio.FIRST_COMPLETED)
            if writing.done() and not isinstance(writing.exception(), ConnectionError):
                writing.result()
                return True
        finally:
            writing.cancel()
            stopping.cancel()
        if self._request.transport is not None:
            self._request.transport.abort()
        return False
