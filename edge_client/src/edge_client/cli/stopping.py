"""Ctrl-C at a client at work: the first time it ends cleanly, the second time at once."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType, TracebackType
from typing import Self

import psutil

from .views import View

STOPPING = "Stopping: what is begun is being kept, for a few seconds. Ctrl-C again ends it at once."


def _soon(loop: asyncio.AbstractEventLoop, act: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(act)


class Stopping:
    """A context manager, of the main thread. Unlike the loop's own handler it outlives the loop, whose end takes time
    as well."""

    def __init__(self, shown: View) -> None:
        self._shown = shown
        self._asked = False
        self._stop: Callable[[], None] | None = None

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        signal.signal(signal.SIGINT, self._before)

    def stops(self, task: "asyncio.Task[None]") -> None:
        """From here on, the first Ctrl-C cancels ``task``, of the running loop."""
        loop = asyncio.get_running_loop()

        def stop() -> None:
            self._shown.say(STOPPING)
            task.cancel()

        self._stop = partial(_soon, loop, stop)

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        if self._asked:
            self._abandon()
        self._asked = True
        try:
            if self._stop is None:
                raise KeyboardInterrupt
            self._stop()
        except RuntimeError:  # the loop has ended
            raise KeyboardInterrupt from None

    def _abandon(self) -> None:
        """What is kept is kept at every moment: nothing has to be waited for."""
        with suppress(Exception):
            self._shown.__exit__(None, None, None)
            sys.stdout.flush()
        for child in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        os._exit(130)
