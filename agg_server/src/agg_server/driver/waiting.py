"""Devices that wait: each long poll sleeps until what it waits for may have changed."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from ..turns import Turns

T = TypeVar("T")


class Waiting:
    """Wakes long polls by topic when the topic's stage changes."""

    def __init__(self) -> None:
        self._stages: dict[bytes, object] = {}
        self._changed: dict[bytes, asyncio.Event] = {}
        self._closing = False
        self._turns = Turns()

    def update(self, stages: dict[bytes, object]) -> None:
        """The stages as they are now; who waits for one that is different is woken."""
        for topic in self._stages.keys() | stages.keys():
            if self._stages.get(topic) != stages.get(topic):
                self._wake(topic)
        self._stages = stages

    def close(self) -> None:
        """Let everybody go at once, now and from now on."""
        self._closing = True
        for topic in list(self._changed):
            self._wake(topic)

    async def until(self, topic: bytes, seconds: float, look: Callable[[], Awaitable[T]], idle: type[object]) -> T:
        """The first of ``look``'s answers that is no ``idle``, or the last one when ``seconds`` are over."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while True:
            known = topic in self._stages
            changed = self._changed.setdefault(topic, asyncio.Event()) if known else None
            answer = await look()  # after the event is there: a change is not missed
            left = end - loop.time()
            if not isinstance(answer, idle) or changed is None or left <= 0 or self._closing:
                return answer
            try:
                async with asyncio.timeout(left):
                    await changed.wait()
            except TimeoutError:
                return answer
            await self._turns.take()

    def _wake(self, topic: bytes) -> None:
        changed = self._changed.pop(topic, None)
        if changed is not None:
            changed.set()
