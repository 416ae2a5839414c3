"""The client as a library: join a federation, run, and watch.

async with Client.join(link, data="records.jsonl") as client:
    async for event in client.run():
        print(describe(event))
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from edge_client.data import DataSource, load_records
from edge_client.state import FederationState, Preferences, state_folder
from edge_client.training import TrainEvent, TrainJob, run_training
from edge_client.transport import Recovered, Transport, Trouble
from fedit_shared.errors import UserError
from fedit_shared.identity import JoinLink
from fedit_shared.secagg import Contribution, Contributor, Session, Update

from .enrolment import Enrolment
from .events import Event, Reconnected, Retrying
from .participation import Context
from .threads import in_thread
from .worker import Worker

DEFAULT_FLOOR = 3
"""The fewest survivors that a sum may be opened of, unless the owner says otherwise: the protocol's own minimum."""


class Client:
    """One device in one federation. Made by :meth:`join` or :meth:`open`; use as an async context manager.

    A subclass may override :meth:`train` (another trainer) and :meth:`contribute` (to watch what is masked).
    """

    pause_scale: ClassVar[float] = 1.0
    """Multiplies the pauses before a request is tried again."""

    def __init__(
        self,
        state: FederationState,
        link: JoinLink | None = None,
        *,
        preferences: Preferences | None = None,
        accept_new_task: bool = False,
    ) -> None:
        """``preferences`` None: those of the last time."""
        self.state = state
        self._link = link
        self._preferences = preferences
        self._accept_new_task = accept_new_task
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None

    @classmethod
    def join(
        cls,
        link: str | JoinLink,
        *,
        data: str | Path | DataSource,
        state: str | Path | None = None,
        memory_bytes: int | None = None,
        model_folder: str | Path | None = None,
        min_survivors: int = DEFAULT_FLOOR,
        accept_new_task: bool = False,
    ) -> Self:
        """Take part with this data; on a machine that has joined already, go on.

        ``memory_bytes``: what training may use, None: what is free. ``state``: the federation's folder, None: in the
        platform's own place. ``min_survivors``: this device stays out of sums of fewer. ``accept_new_task``: agree to
        whatever is offered first, though it differs from what was agreed to before. Raises UserError for a link that
        is none.
        """
        parsed = link if isinstance(link, JoinLink) else JoinLink.parse(link)
        preferences = Preferences(
            data=_source(data),
            memory_bytes=memory_bytes,
            model_folder=None if model_folder is None else str(Path(model_folder).expanduser().absolute()),
            min_survivors=min_survivors,
        )
        folder = state_folder(parsed.federation, None if state is None else Path(state))
        return cls(FederationState(folder), parsed, preferences=preferences, accept_new_task=accept_new_task)

    @classmethod
    def open(cls, state: str | Path | None = None, *, accept_new_task: bool = False) -> Self:
        """Go on with what a folder holds; None: the one federation that this machine has joined."""
        folder = state_folder(None, None if state is None else Path(state))
        if not folder.is_dir():
            raise UserError(f"There is no folder {folder}.", advice="Join with `fedit-client join LINK`.")
        return cls(FederationState(folder), accept_new_task=accept_new_task)

    async def __aenter__(self) -> Self:
        """Lock the folder. Raises BusyError if another client works there, UserError if it belongs to another
        federation or to none."""
        self.state.__enter__()
        try:
            self._enrolment = Enrolment(self.state, self._link, accept_new_task=self._accept_new_task)
            if self._preferences is not None:
                self.state.preferences = self._preferences
            self._preferences = self.state.preferences
        except BaseException:
            self.state.__exit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._stop()
        finally:
            self.state.__exit__(kind, error, trace)

    async def run(self, rounds: int | None = None) -> AsyncIterator[Event]:
        """Work, and say so. Ends once ``rounds`` updates have gone up and their rounds are over, or when the
        federation ends; with None, only then. Raises FeditError for what its owner has to see to.

        Leaving the loop stops the work cleanly; whatever was begun goes on at the next start.
        """
        self._work = asyncio.create_task(self._run(rounds))
        self._work.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            while (event := await self._queue.get()) is not None:
                yield event
            await self._work
        finally:
            await self._stop()

    async def leave(self) -> None:
        """Take no further rounds. :meth:`run` then only answers for those that this device is still in."""
        async with self._transport() as transport:
            await self._enrolment.leave(transport)

    def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        """Do a round's local work; the last event is Finished or Failed."""
        return run_training(job)

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        """Mask this device's update: called once for each cohort, in a thread. What it returns, and what it gives to
        ``sink``, is all that leaves this machine of the update."""
        return Contributor(session, self.state.identity).contribute(update, randomness, sink)

    async def _run(self, rounds: int | None) -> None:
        enrolment, preferences = self._enrolment, self._preferences
        if preferences is None:
            raise UserError("This folder names no data.", advice="Run `fedit-client join LINK --data FILE`.")
        if enrolment.left:
            rounds = 0
        else:
            await in_thread(load_records, preferences.data)
        async with self._transport() as transport:
            context = Context(
                state=self.state,
                transport=transport,
                server_key=await enrolment.join(transport, self._queue.put_nowait, time.time),
                clock=time.time,
                emit=self._queue.put_nowait,
                contribute=self.contribute,
            )
            await Worker(context, enrolment, preferences, self.train).run(rounds)

    def _transport(self) -> Transport:
        return Transport(self._enrolment.server, self.state.identity, self._told, base=self.pause_scale)

    def _told(self, news: Trouble | Recovered) -> None:
        match news:
            case Trouble(problem=problem, seconds=seconds):
                self._queue.put_nowait(Retrying(problem, seconds))
            case Recovered():
                self._queue.put_nowait(Reconnected())

    async def _stop(self) -> None:
        if self._work is not None and not self._work.done():
            self._work.cancel()
            await asyncio.wait([self._work])


def _source(data: str | Path | DataSource) -> DataSource:
    source = data if isinstance(data, DataSource) else DataSource(path=str(data))
    return msgspec.structs.replace(source, path=str(Path(source.path).expanduser().absolute()))
