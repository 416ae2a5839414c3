"""The gate that training waits at, and is called back through."""

import asyncio
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from edge_client.state import Pause

from .policy import Observation, Standing, judge
from .when import When

TICK_SECONDS = 1.0
"""The owner's word and the clock are looked up this often."""
_SLICE = 30.0
"""A wait asks the wall clock this often: the loop's own stands still while the machine sleeps."""


class YieldError(Exception):
    """Training has to get out of the way."""


class Gate:
    """Open while training may run. Closed until :meth:`watch`, which has to run beside, has looked for the first time.

    ``told`` hears of every change of what a person would be told, and of a gate that is closed at first.
    """

    def __init__(
        self,
        when: When,
        *,
        pause: Callable[[], Pause | None],
        observe: Callable[[], Observation],
        clock: Callable[[], float],
        told: Callable[[Standing], None],
    ) -> None:
        """``pause`` (the owner's word) and ``observe`` are called in a thread, the second one only if ``when`` needs
        it. ``clock``: Unix seconds."""
        self._when = when
        self._pause = pause
        self._observe = observe
        self._clock = clock
        self._told = told
        self._standing: Standing | None = None
        self._open = asyncio.Event()
        self._working: set[asyncio.Timeout] = set()

    @property
    def reason(self) -> str:
        """Why it is closed: a sentence, or "" while it is open."""
        return self._standing.reason if self._standing else ""

    async def watch(self) -> None:
        """Open and close the gate, until cancelled. Raises what ``pause`` raises."""
        while True:
            await self._look()
            await asyncio.sleep(TICK_SECONDS)

    async def opened(self, until: float = math.inf) -> bool:
        """Wait until it is open; False if it is not by Unix time ``until``."""
        while not self._open.is_set():
            left = until - self._clock()
            if left <= 0:
                return False
            try:
                await asyncio.wait_for(self._open.wait(), min(left, _SLICE))
            except TimeoutError:
                continue
        return True

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """What is awaited within is cancelled when the gate closes, and YieldError raised; at once if it is closed."""
        limit = asyncio.timeout(None if self._open.is_set() else 0)
        try:
            async with limit:
                self._working.add(limit)
                try:
                    yield
                finally:
                    self._working.discard(limit)
        except TimeoutError:
            if not limit.expired():
                raise
            raise YieldError from None

    async def _look(self) -> None:
        pause = await asyncio.to_thread(self._pause)
        now, before = self._clock(), self._standing
        due = self._when.looks and (before is None or before.look_at is None or now >= before.look_at)
        seen = await asyncio.to_thread(self._observe) if due else None
        standing = self._standing = judge(self._when, self._clock(), pause=pause, seen=seen, before=before)
        self._swing(standing.may_work)
        if _public(standing) != (_public(before) if before else (True, "", None)):
            self._told(standing)

    def _swing(self, to_open: bool) -> None:
        if to_open:
            self._open.set()
            return
        self._open.clear()
        for limit in self._working:
            if not limit.expired():
                limit.reschedule(asyncio.get_running_loop().time())


def _public(standing: Standing) -> tuple[bool, str, int | None]:
    return standing.may_work, standing.reason, standing.until
