"""The one writer: a thread that owns the ledger, and the loop that feeds it.

Events that wait together are committed together, so a thousand devices cost a few fsyncs. Between batches the loop
sleeps until an event comes or the clock makes something due.
"""

import asyncio
import logging
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple, TypeVar

from agg_server.ledger import Due, Ledger, Proposal
from agg_server.store import Recorded
from fedit_shared.errors import FeditError

T = TypeVar("T")
_BATCH = 256
_log = logging.getLogger(__name__)


class _Entry(NamedTuple):
    proposal: Proposal
    done: "asyncio.Future[None]"


class Turn(NamedTuple):
    """What one turn of the loop came to."""

    recorded: list[Recorded]
    due: list[Due]
    stages: dict[bytes, object]
    next_time: float | None


class Writer:
    """Submit events, run reads between them. ``after`` is called, on the event loop, with each turn's outcome."""

    def __init__(self, ledger: Ledger, clock: Callable[[], float], after: Callable[[Turn], None]) -> None:
        self._ledger = ledger
        self._clock = clock
        self._after = after
        self._thread = ThreadPoolExecutor(1, "store")
        self._queue: asyncio.Queue[_Entry | None] = asyncio.Queue()
        self._stopping = False

    @property
    def queued(self) -> int:
        """Events that wait to be written."""
        return self._queue.qsize()

    async def submit(self, proposal: Proposal) -> None:
        """Return once the event is on disk. Raises why it was refused."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Entry(proposal, done))
        await done

    async def call(self, work: Callable[[], T]) -> T:
        """Run ``work`` on the ledger's thread, between batches."""
        result = await asyncio.get_running_loop().run_in_executor(self._thread, work)
        if self._ledger.moved:
            self.look()  # what others have recorded may make something due here
        return result

    def look(self) -> None:
        """Have the loop take a turn although nothing came."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Take turns until :meth:`stop`; what was submitted before is written before it returns."""
        pause: float | None = 0.0
        while not (self._stopping and self._queue.empty()):
            batch = await self._next_batch(pause)
            try:
                outcomes, turn = await self.call(partial(self._turn, [entry.proposal for entry in batch]))
            except Exception as error:
                problem = error if isinstance(error, FeditError) else FeditError("The server failed.")
                _log.error("A turn of the writer failed: %s", problem, exc_info=problem is not error)
                _finish(batch, [problem] * len(batch))
                pause = 1.0
                continue
            _finish(batch, outcomes)
            try:
                self._after(turn)
            except Exception:  # what was due is due again in the next turn
                _log.exception("What follows a turn of the writer failed")
                pause = 1.0
                continue
            pause = None if turn.next_time is None else max(0.0, turn.next_time - self._clock())

    def close(self) -> None:
        """Let the thread go, after what is under way on it."""
        self._thread.shutdown()

    def stop(self) -> None:
        """Have :meth:`run` return."""
        self._stopping = True
        self.look()

    def _turn(self, proposals: list[Proposal]) -> tuple[list[FeditError | None], Turn]:
        now = self._clock()
        ledger = self._ledger
        outcomes, recorded = ledger.record(proposals, now)
        return outcomes, Turn(recorded, ledger.due(now), ledger.stages(), ledger.next_time(now))

    async def _next_batch(self, pause: float | None) -> list[_Entry]:
        batch: list[_Entry] = []
        try:
            async with asyncio.timeout(pause):
                first = await self._queue.get()
        except TimeoutError:
            return batch
        while True:
            if first is not None:
                batch.append(first)
            if len(batch) >= _BATCH or self._queue.empty():
                return batch
            first = self._queue.get_nowait()


def _finish(batch: Collection[_Entry], outcomes: Collection[FeditError | None]) -> None:
    for entry, refused in zip(batch, outcomes, strict=True):
        if entry.done.done():
            continue
        if refused is None:
            entry.done.set_result(None)
        else:
            entry.done.set_exception(refused)
