"""The client as a library: join a federation, run, and watch.

async with Client.join(link, data="records.jsonl") as client:
    async for event in client.run():
        print(describe(event))
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

import msgspec

from edge_client.data import APPLICATION, AbsentError, DataSource, RecordSource, load_records, located
from edge_client.paths import absolute
from edge_client.state import FederationState, Preferences, state_folder
from edge_client.training import TrainEvent, TrainJob, run_training
from edge_client.transport import News, Recovered, Server, Transport, Trouble, UnreachableError
from edge_client.yielding import Gate, Observation, Observer, Standing, parse_when
from fedit_shared.errors import UnauthorizedError, UserError
from fedit_shared.identity import JoinLink
from fedit_shared.messages import TaskSpec
from fedit_shared.secagg import Contribution, Contributor, Session, Update

from .enrolment import Enrolment
from .events import Event, Paused, Reconnected, Resumed, Retrying
from .folders import fetch_folder
from .participation import Context
from .threads import in_thread
from .worker import Worker

LEAVING_SECONDS = 60.0
"""So long a server is tried again that is to be told that this device leaves."""


class AwayError(UserError):
    """What was there the last time is not: its disk may be."""

    exit_code = 3
    code = "absent"
    usual = "Connect the disk that it lies on and start again, or name where it is now, with --data or --model-path."


class Client:
    """One device in one federation. Made by :meth:`join` or :meth:`open`; use as an async context manager.

    A subclass may override :meth:`train` (another trainer), :meth:`contribute` (to watch what is masked) and
    :meth:`observe` (another machine).
    """

    pause_scale: ClassVar[float] = 1.0
    """Multiplies the pauses before a request is tried again."""

    def __init__(
        self,
        state: FederationState,
        link: JoinLink | None = None,
        *,
        wishes: Mapping[str, object] | None = None,
        records: RecordSource | None = None,
        accept_new_task: bool = False,
        ask: bool = False,
    ) -> None:
        """``wishes``: the fields of :class:`~edge_client.state.Preferences` that are to change; ``records``: what to
        train on, where it is no file."""
        self.state = state
        self._link = link
        self._wishes = dict(wishes or {})
        self._records = records
        self._accept_new_task = accept_new_task
        self.ask = ask and not accept_new_task
        """Whether the owner is asked before the first task."""
        self._queue: asyncio.Queue[Event | None] = asyncio.Queue()
        self._work: asyncio.Task[None] | None = None
        self._observer: Observer | None = None

    @classmethod
    def join(
        cls,
        link: str | JoinLink,
        *,
        data: str | Path | DataSource | RecordSource | None = None,
        state: str | Path | None = None,
        memory_bytes: int | None = None,
        model_folder: str | Path | None = None,
        min_survivors: int | None = None,
        when: Sequence[str] | None = None,
        accept_new_task: bool = False,
        ask: bool = False,
    ) -> Self:
        """Take part with this data; on a machine that has joined already, go on. None: as the last time.

        ``data``: a file, ``hf:OWNER/NAME``, or a function that gives records: it is called in a thread, once an update,
        and what it gave lies in ``state``, readable by this user alone, until that update is trained.
        ``memory_bytes``: what training may use (at first: what is free). ``model_folder``: the base model's files (at
        first: from the hub). ``min_survivors``: this device stays out of sums of fewer (at first: 3). ``when``: the
        conditions that must all hold for training to run, ``idle``, ``charging`` or ``HH:MM-HH:MM`` (at first: none).
        ``state``: the federation's folder (None: in the platform's own place). ``accept_new_task``: agree to what is
        offered first, though it differs from what was agreed to before. ``ask``: :meth:`run` raises UnagreedError for
        the first task, too, so that the owner can be asked; after :meth:`agree` it goes on. Raises UserError for a link
        or a condition that is none.
        """
        parsed = link if isinstance(link, JoinLink) else JoinLink.parse(link)
        return cls(
            FederationState(state_folder(parsed.federation, None if state is None else Path(state))),
            parsed,
            wishes=_wishes(data, memory_bytes, model_folder, min_survivors, when),
            records=_given(data),
            accept_new_task=accept_new_task,
            ask=ask,
        )

    @classmethod
    def open(
        cls,
        state: str | Path | None = None,
        *,
        data: str | Path | DataSource | RecordSource | None = None,
        memory_bytes: int | None = None,
        model_folder: str | Path | None = None,
        min_survivors: int | None = None,
        when: Sequence[str] | None = None,
        accept_new_task: bool = False,
        ask: bool = False,
    ) -> Self:
        """Go on with what a folder holds; None: the one federation that this machine has joined. The others: as in
        :meth:`join`; None: as the last time. Raises UserError where that folder has joined nothing."""
        folder = state_folder(None, None if state is None else Path(state))
        if not folder.is_dir() or FederationState(folder).membership is None:
            raise UserError(
                f"{folder} has joined no federation.",
                advice="Join first: `fedit-client join LINK`, with the same --state.",
            )
        return cls(
            FederationState(folder),
            wishes=_wishes(data, memory_bytes, model_folder, min_survivors, when),
            records=_given(data),
            accept_new_task=accept_new_task,
            ask=ask,
        )

    async def __aenter__(self) -> Self:
        """Lock the folder. Raises BusyError if another client works there, UserError if it belongs to another
        federation or to none, or names no data."""
        self.state.__enter__()
        try:
            self._preferences = self._merged_preferences()
            self._enrolment = Enrolment(self.state, self._link, accept_new_task=self._accept_new_task, ask=self.ask)
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

    @property
    def preferences(self) -> Preferences:
        """How this machine takes part, as merged on entering."""
        return self._preferences

    @property
    def server(self) -> Server:
        """Where the federation is reached."""
        return self._enrolment.server

    async def run(self, rounds: int | None = None) -> AsyncGenerator[Event, None]:
        """Work, and say so. Ends once ``rounds`` updates have gone up and their rounds are over, or when the
        federation ends; with None, only then; with 0, as soon as the rounds are over that this device is in already.
        Raises FeditError for what its owner has to see to.

        Leaving the loop stops the work cleanly; whatever was begun goes on at the next start.
        """
        self._queue = asyncio.Queue()
        self._work = asyncio.create_task(self._run(rounds))
        self._work.add_done_callback(lambda _: self._queue.put_nowait(None))
        try:
            while (event := await self._queue.get()) is not None:
                yield event
            await self._work
        finally:
            await self._stop()

    def agree(self, task: bytes) -> None:
        """Keep that the owner agrees to ``task``, as it stands in UnagreedError: this one, and no other. To be called
        outside of the ``async with`` that raised it."""
        with self.state:
            Enrolment(self.state, self._link, accept_new_task=False).agree(task)

    async def leave(self, told: Callable[[Event], None] = lambda event: None, *, patience: float | None = None) -> None:
        """Take no further rounds. The server then listens to this device no more: rounds that it is in lose it.

        ``told`` hears that the server cannot be reached, as :meth:`run` would yield it. Raises UnreachableError where
        that stays so for ``patience`` seconds (None: a minute); the device has not left then.
        """
        wanted = LEAVING_SECONDS if patience is None else patience
        problem = ""

        def hear(news: Trouble | Recovered) -> None:
            nonlocal problem
            if isinstance(news, Trouble):
                problem = news.problem
                if limit.when() is None:
                    limit.reschedule(asyncio.get_running_loop().time() + wanted)
            told(_event(news))

        try:
            async with asyncio.timeout(None) as limit, self._transport(hear) as transport:
                await self._enrolment.leave(transport)
        except TimeoutError as error:
            raise UnreachableError(
                f"This device has not left: {problem}.",
                advice="Try again later. Or leave it at that, stop what runs here and delete "
                f"{self.state.folder}: the server then goes on without this device, which it still knows.",
            ) from error

    async def fetch_adapter(self, out: str | Path, version: bytes | None = None) -> TaskSpec:
        """Write an adapter version as a PEFT folder ``out``, for transformers; the task that it belongs to. None: the
        newest that this device knows of, which the rounds that it took part in tell (``RoundFinished.adapter``).

        It may be called within the loop over :meth:`run`. Under the strategy ``shared-a`` the published half alone is
        in it: see :func:`edge_client.client.write_personal`. Raises UserError before this device has ended a round, or
        where ``out`` is taken, NotFoundError where the server has dropped that version.
        """
        async with self._transport() as transport:
            return await fetch_folder(self.state, transport, absolute(out), version)

    def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        """Do a round's local work; the last event is Finished or Failed."""
        return run_training(job)

    def observe(self) -> Observation:
        """Look at this machine, which may be its owner's at work: called in a thread, every few seconds, where the
        owner's wishes depend on it."""
        if self._observer is None:
            self._observer = Observer()
        return self._observer()

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        """Mask this device's update: called once for each cohort, in a thread. What it returns, and what it gives to
        ``sink``, is all that leaves this machine of the update."""
        return Contributor(session, self.state.identity).contribute(update, randomness, sink)

    async def _run(self, rounds: int | None) -> None:
        enrolment, preferences = self._enrolment, self._preferences
        if enrolment.left:
            raise UserError("This device has left the federation.", advice="Join again with a new link.")
        if rounds != 0:
            await in_thread(self._keep_preferences)
        async with self._transport() as transport:
            context = Context(
                state=self.state,
                transport=transport,
                server_key=await enrolment.join(transport, self._queue.put_nowait, time.time),
                clock=time.time,
                emit=self._queue.put_nowait,
                contribute=self.contribute,
            )
            gate = Gate(
                parse_when(preferences.when),
                pause=lambda: self.state.pause,
                observe=self.observe,
                clock=time.time,
                told=self._stands,
            )
            try:
                await Worker(context, enrolment, preferences, self.train, gate, self._records).run(rounds)
            except UnauthorizedError:  # who left and has a link again may still be in a round
                if not await enrolment.renew():
                    raise
                await Worker(context, enrolment, preferences, self.train, gate, self._records).run(rounds)

    def _merged_preferences(self) -> Preferences:
        known = self.state.preferences
        if known is None and "data" not in self._wishes:
            raise UserError(
                "No data is named: a file of instruction records.",
                advice="Start again, with --data FILE.",
            )
        return msgspec.convert({**(msgspec.structs.asdict(known) if known else {}), **self._wishes}, Preferences)

    def _keep_preferences(self) -> None:
        """Store the preferences, once it is clear that they can be worked with: a slip of the pen replaces nothing."""
        wanted, known = self._preferences, self.state.preferences
        if self._records is None:
            if wanted.data.path == APPLICATION:
                raise UserError(
                    "The records for this federation come from an application.",
                    advice="Start that one, or start again with --data FILE.",
                )
            try:
                load_records(wanted.data)
            except AbsentError as error:
                if known is None or wanted.data != known.data:
                    raise
                raise AwayError(error.message) from error
        if wanted.model_folder is not None and not (Path(wanted.model_folder) / "config.json").is_file():
            kept = known is not None and wanted.model_folder == known.model_folder
            raise (AwayError if kept else UserError)(
                f"{wanted.model_folder} holds no model: it has no config.json.",
                advice=""
                if kept
                else "Name the folder of the base model's files, or leave --model-path out to fetch them.",
            )
        if wanted != known:
            self.state.preferences = wanted

    def _transport(self, told: News | None = None) -> Transport:
        server, key = self._enrolment.server, self.state.identity
        return Transport(server, key, told or self._told, clock=time.time, base=self.pause_scale)

    def _told(self, news: Trouble | Recovered) -> None:
        self._queue.put_nowait(_event(news))

    def _stands(self, standing: Standing) -> None:
        self._queue.put_nowait(Resumed() if standing.may_work else Paused(standing.reason, standing.until))

    async def _stop(self) -> None:
        if self._work is not None and not self._work.done():
            self._work.cancel()
            await asyncio.wait([self._work])


def _event(news: Trouble | Recovered) -> Event:
    return Retrying(news.problem, news.seconds) if isinstance(news, Trouble) else Reconnected()


def _wishes(
    data: str | Path | DataSource | RecordSource | None,
    memory_bytes: int | None,
    model_folder: str | Path | None,
    min_survivors: int | None,
    when: Sequence[str] | None,
) -> dict[str, object]:
    """The fields of Preferences that are to change."""
    wishes = {
        "data": None if data is None else _source(data),
        "memory_bytes": memory_bytes,
        "model_folder": None if model_folder is None else str(absolute(model_folder)),
        "min_survivors": min_survivors,
        "when": None if when is None else parse_when(when).words,
    }
    return {name: value for name, value in wishes.items() if value is not None}


def _given(data: str | Path | DataSource | RecordSource | None) -> RecordSource | None:
    return data if callable(data) else None


def _source(data: str | Path | DataSource | RecordSource) -> DataSource:
    if callable(data):
        return DataSource(path=APPLICATION)
    source = data if isinstance(data, DataSource) else DataSource(path=str(data))
    return msgspec.structs.replace(source, path=located(source.path))
