"""Which of the replicas leads: it alone opens rounds, forms cohorts and takes steps; the others wait for its place."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

from agg_server.errors import UnavailableError
from agg_server.store import Claims, Watch
from fedit_shared.errors import FeditError

_PAUSE = 1.0
_log = logging.getLogger(__name__)


class Leading:
    """Whether this process leads. ``changed`` is awaited when that changes, ``news`` called when others record.

    Nothing depends on there being one leader only: an event that two propose is recorded once. One is enough, is all.
    """

    def __init__(
        self, watch: Watch, claims: Claims, changed: Callable[[], Awaitable[None]], news: Callable[[], None]
    ) -> None:
        self.now = False
        self._watch = watch
        self._claims = claims
        self._changed = changed
        self._news = news
        self._thread = ThreadPoolExecutor(1, "watch")
        self._stopping = False
        self._running: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Look once, and from now on again and again."""
        await self._look()
        self._running = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Let another one lead."""
        self._stopping, self.now = True, False
        if self._running is not None:
            await self._running
        await asyncio.get_running_loop().run_in_executor(self._thread, self._watch.close)
        self._thread.shutdown()

    async def _run(self) -> None:
        while not self._stopping:
            if not await self._look():
                await asyncio.sleep(_PAUSE)

    async def _look(self) -> bool:
        """Whether the database answered."""
        loop, before = asyncio.get_running_loop(), self.now
        try:
            seen = await loop.run_in_executor(self._thread, self._watch.look)
            await loop.run_in_executor(self._thread, self._claims.beat)
            self.now, news = seen.leading and not self._stopping, seen.news
        except UnavailableError as error:
            _log.debug("%s", error)  # what it is, is in the log already
            self.now, news = False, None
        if self.now != before:
            _log.info("this replica leads" if self.now else "this replica leads no more")
            await self._tell()
        if news:
            self._news()
        return news is not None

    async def _tell(self) -> None:
        try:
            await self._changed()
        except Exception as error:  # housekeeping will do most of it
            _log.error("taking over failed: %s", error, exc_info=not isinstance(error, FeditError))
