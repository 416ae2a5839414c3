"""An event loop whose time jumps to the next timer, and whose threads are its own turns.

The same program and seed run the same way each time: work given to an executor runs on the loop, after a drawn delay
(in order where the executor has one thread); nothing waits for anything real. When nothing is left that could ever run,
that is a deadlock and raised as one.
"""

import asyncio
import heapq
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextvars import ContextVar
from itertools import count
from random import Random
from typing import Any, Protocol


class Crashed(BaseException):
    """The process that runs this is dead: nothing of it may have an effect any more."""


class StuckError(Exception):
    """Nothing can ever happen again, or everything happens at one moment for ever."""


class Life(Protocol):
    """What the loop has to know of a process."""

    alive: bool
    tasks: list[asyncio.Task[Any]]
    held: list[asyncio.Handle]

    @property
    def asleep(self) -> bool: ...


PROCESS: ContextVar[Life | None] = ContextVar("process", default=None)
TURNS_AT_ONE_MOMENT = 200_000
_numbers = count()


class SimTask(asyncio.Task[Any]):
    """A task with a hash of its own number, so that sets of tasks have the same order in every run."""

    def __init__(self, coroutine: Any, **options: Any) -> None:
        self.number = next(_numbers)
        super().__init__(coroutine, **options)
        process = PROCESS.get()
        if process is not None:
            process.tasks.append(self)

    def __hash__(self) -> int:
        return self.number


class VirtualLoop(asyncio.BaseEventLoop):
    """Use :meth:`run_until_complete`. ``random`` draws the delays of threads."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.problems: list[BaseException] = []
        self._now = 0.0
        self._turns = 0
        self._thread_free: dict[Executor, float] = {}
        self.set_task_factory(lambda loop, coroutine, **options: SimTask(coroutine, loop=loop, **options))
        self.set_exception_handler(self._note_problem)

    def time(self) -> float:
        return self._now

    def requeue(self, handles: Iterable[asyncio.Handle]) -> None:
        """Let these run now."""
        self._ready.extend(handles)

    def run_in_executor(self, executor: Executor | None, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:
        """Run ``func`` in one piece, some milliseconds (seldom a second) from now."""
        future = self.create_future()
        seldom = self.random.random() < 0.02
        at = self._now + self.random.expovariate(3.0 if seldom else 1000.0)
        if isinstance(executor, ThreadPoolExecutor) and executor._max_workers == 1:
            at = max(at, self._thread_free.get(executor, 0.0) + 1e-6)
            self._thread_free[executor] = at
        self.call_at(at, _perform, future, func, args)
        return future

    async def sendfile(self, *args: Any, **options: Any) -> int:
        """Refused: aiohttp then reads the file piece by piece."""
        raise NotImplementedError

    def _run_once(self) -> None:
        scheduled, ready = self._scheduled, self._ready
        while scheduled and scheduled[0]._cancelled:
            self._timer_cancelled_count -= 1
            heapq.heappop(scheduled)._scheduled = False
        if not ready and not self._stopping:
            if not scheduled:
                raise StuckError("deadlock: nobody waits for anything that could come")
            if scheduled[0]._when > self._now:
                self._now, self._turns = scheduled[0]._when, 0
        while scheduled and scheduled[0]._when <= self._now:
            handle = heapq.heappop(scheduled)
            handle._scheduled = False
            ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            self._turns += 1
            if handle._cancelled:
                continue
            process = handle._context.get(PROCESS)
            if process is not None:
                if not process.alive:
                    continue
                if process.asleep:
                    process.held.append(handle)
                    continue
            handle._run()
        if self._turns > TURNS_AT_ONE_MOMENT:
            raise StuckError("livelock: time stands still")

    def _process_events(self, event_list: object) -> None:
        """There is no I/O."""

    def _write_to_self(self) -> None:
        """There is no other thread."""

    def _note_problem(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not isinstance(error, Crashed):
            self.problems.append(error or RuntimeError(context["message"]))


def _perform(future: asyncio.Future[Any], func: Callable[..., Any], args: tuple[Any, ...]) -> None:
    try:
        result = func(*args)
    except Crashed:
        return
    except BaseException as error:
        if not future.done():
            future.set_exception(error)
    else:
        if not future.done():
            future.set_result(result)
