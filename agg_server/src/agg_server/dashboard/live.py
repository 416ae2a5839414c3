"""/dashboard/live: server-sent events with the parts of the first page that have changed."""

import asyncio
from contextlib import suppress
from hashlib import sha256

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from agg_server.errors import BusyError, UnavailableError
from fedit_shared.errors import FeditError, UnauthorizedError

from .pages import glance
from .rendering import PRIVATE
from .sending import Sending
from .site import Site, Visit

LOOK_SECONDS = 2.0
HEARTBEAT_LOOKS = 10
MOST = 16
"""Pages that are kept up to date at once."""


class Live:
    """The pages that are open."""

    def __init__(self) -> None:
        self._open = 0

    async def stream(self, site: Site, visit: Visit) -> web.StreamResponse:
        """Send each part when it has changed, until the session is over, the browser leaves or the server stops."""
        if self._open >= MOST:
            raise BusyError(f"{MOST} pages are kept up to date already.", advice="Close one, or reload by hand.")
        self._open += 1
        try:
            return await self._stream(site, visit)
        finally:
            self._open -= 1

    async def _stream(self, site: Site, visit: Visit) -> web.StreamResponse:
        headers = PRIVATE | {"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"}
        response = web.StreamResponse(headers=CIMultiDict(headers))
        await response.prepare(visit.request)
        sending, changes, looks = Sending(visit.request, response, site.closing), _Changes(site), 0
        with suppress(UnauthorizedError):
            while not sending.over:
                text = b""
                with suppress(UnavailableError):  # until it is known that the session is not over, nothing is told
                    await site.require_session(visit.request)
                    text = await changes.since_last()
                if text or looks % HEARTBEAT_LOOKS == 0:
                    await sending.send(text or b": still here\n\n")
                looks += 1
                with suppress(TimeoutError):
                    async with asyncio.timeout(LOOK_SECONDS):
                        await site.closing.wait()
        return response


class _Changes:
    """The parts that are not as they were sent."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._sent: dict[str, bytes] = {}
        self._past: object = None

    async def since_last(self) -> bytes:
        """Events for them; nothing where the server cannot look just now."""
        try:
            moment = await glance.look(self._site)
            past = moment.current and (moment.current.report.round, moment.current.report.outcome)
            parts = await glance.fragments(self._site, moment, history=past != self._past)
        except FeditError:
            return b""
        self._past = past
        text = b""
        for name, html in parts.items():
            digest = sha256(html.encode()).digest()
            if self._sent.get(name) != digest:
                self._sent[name] = digest
                text += b"event: part\ndata: " + msgspec.json.encode({"id": name, "html": html}) + b"\n\n"
        return text
