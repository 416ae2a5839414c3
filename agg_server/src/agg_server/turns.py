"""Fairness between tasks: when a thousand of them become ready at once, the event loop would run them all before it
looks at anything else."""

import asyncio
from collections import deque

EACH = 16
"""Tasks in one pass of the event loop: what a task of a request does then, it does in one or two milliseconds."""


class Turns:
    """Lets so many tasks through in each pass of the event loop, first come, first served."""

    def __init__(self, each: int = EACH) -> None:
        self._each = self._left = each
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self) -> None:
        """Return at once, or in a later pass where this one has had its share."""
        loop = asyncio.get_running_loop()
        if self._left == self._each:
            loop.call_soon(self._renew)
        if self._left:
            self._left -= 1
            return
        turn = loop.create_future()
        self._waiting.append(turn)
        await turn

    def _renew(self) -> None:
        self._left = self._each
        while self._left and self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # whoever was cancelled takes none
                turn.set_result(None)
                self._left -= 1
        if self._left < self._each:
            asyncio.get_running_loop().call_soon(self._renew)
