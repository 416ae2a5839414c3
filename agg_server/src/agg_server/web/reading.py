"""Request bodies: bounded in size and time, signed by who sends them."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from fedit_shared.errors import TooLargeError, UnauthorizedError

from ..errors import GoneError, SlowError
from .auth import Gate
from .limits import Memory, Pace

SLOWEST_BYTES_PER_SECOND = 8192
"""A slower line counts as broken, and is let go."""
PATIENCE_SECONDS = 30.0


class Reader:
    """Reads bodies whole. ``offload`` runs a function on a worker thread; ``pace``: of one device; ``renew`` asks
    anew who has joined, where that may have been by another replica."""

    def __init__(
        self,
        gate: Gate,
        offload: Callable[[Callable[[], Any]], Awaitable[Any]],
        pace: Pace,
        memory: Memory,
        renew: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._gate = gate
        self._pace = pace
        self._memory = memory
        self._offload = offload
        self._renew = renew

    async def signed(self, request: web.Request, limit: int) -> tuple[bytes, bytes]:
        """Who asks, and the body, verified. Nothing is read from a stranger. Raises BusyError for a device that asks
        too often."""
        header = request.headers.get("Authorization", "")
        try:
            identity = self._gate.require_known(header)
        except UnauthorizedError:
            if self._renew is None:
                raise
            await self._renew()
            identity = self._gate.require_known(header)
        request["device"] = identity
        body = await self.body(request, limit)
        self._pace.require(identity.hex())  # before the request's number is kept: not counted, since anybody may be it
        check = partial(self._gate.require_signed, header, request.method, request.path_qs, body)
        await self._offload(check)
        self._pace.take(identity.hex())
        request["signed_by"] = identity
        return identity, body

    async def body(self, request: web.Request, limit: int) -> bytes:
        """At most ``limit`` bytes. Raises TooLargeError, SlowError, BusyError where
        memory for bodies is used up, or GoneError."""
        if (request.content_length or 0) > limit:
            raise TooLargeError(f"A request of at most {limit} bytes was expected.")
        body = bytearray()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS + limit / SLOWEST_BYTES_PER_SECOND):
                async for piece in request.content.iter_any():
                    self._memory.take(request, len(piece))
                    body += piece
                    request["received"] = len(body)
                    if len(body) > limit:
                        raise TooLargeError(f"A request of at most {limit} bytes was expected.")
        except TimeoutError:
            raise SlowError("The request came too slowly.") from None
        except ConnectionError:
            raise GoneError("The sender hung up in the middle of its request.") from None
        return bytes(body)
