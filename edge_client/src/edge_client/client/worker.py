"""What a client does until it is stopped: round after round it trains, musters, contributes, and answers.

The main task takes one round after the other up to the upload. From its muster on, each round is carried by a task of
its own (:mod:`.participation`), which goes on answering while the next round is already being worked on.
"""

import asyncio
import os
from hashlib import sha256

from edge_client import __version__
from edge_client.data import RecordSource
from edge_client.hardware import find_hardware
from edge_client.reasons import said_by_server
from edge_client.rounds import check_offer, make_muster
from edge_client.state import Attempt, Ended, Mustered, Outcome, Preferences, UpdateFolder
from edge_client.yielding import Gate
from fedit_shared.errors import NotFoundError, ProtocolError, UnauthorizedError
from fedit_shared.messages import CheckIn, Closed, Offer, TaskSpec, Wait, encode
from fedit_shared.secagg import ROUND_SECRET_SIZE, RoundKey

from . import events
from .enrolment import Enrolment, agreement
from .participation import EXPIRED, HOLD_SECONDS, Context, Participation, pause
from .threads import in_thread
from .trainer import TooSlowError, Train, obtain_update

REST_SECONDS = 5.0
"""Pause after a round that this device could not take part in, so that no misunderstanding becomes a storm."""
SETTLING_SECONDS = 60.0
"""So long an earlier cohort on the same adapter version is given to end, which may give its update back, before the
work is done anew."""
ADAPTERS_KEPT = 2
EXPIRY_SECONDS = 60.0
"""So often this device looks for round keys that have outlived their promise."""


class Worker:
    """Works for one federation. ``run`` is called once."""

    def __init__(
        self,
        context: Context,
        enrolment: Enrolment,
        preferences: Preferences,
        train: Train,
        gate: Gate,
        records: RecordSource | None = None,
    ) -> None:
        self._context = context
        self._state = context.state
        self._enrolment = enrolment
        self._preferences = preferences
        self._train = train
        self._gate = gate
        self._records = records
        self._begun: dict[str, Attempt] = {}
        self._expiring = asyncio.Lock()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._told: events.Waiting | None = None

    async def run(self, rounds: int | None) -> None:
        """Take part until ``rounds`` updates have gone up and their rounds are over; None: until cancelled."""
        alive = await in_thread(lambda: [attempt for attempt in self._state.attempts if attempt.alive])
        try:
            async with asyncio.TaskGroup() as group:
                expiry = group.create_task(self._expire())
                contributed = 0
                for participation in [self._start(group, attempt) for attempt in alive]:
                    await participation.settled.wait()
                    contributed += participation.contributed
                watch = group.create_task(self._gate.watch())
                while (rounds is None or contributed < rounds) and (offer := await self._check_in()) is not None:
                    contributed += await self._take_part(group, *offer)
                watch.cancel()
                if self._tasks:
                    await asyncio.wait(self._tasks.values())
                async with self._expiring:
                    expiry.cancel()
        except BaseExceptionGroup as several:
            raise several.exceptions[0] from None

    def _start(self, group: asyncio.TaskGroup, attempt: Attempt) -> Participation:
        participation = Participation(self._context, attempt, self._supersede)
        self._begun[attempt.name] = attempt
        self._tasks[attempt.name] = group.create_task(participation.run())
        return participation

    async def _check_in(self) -> tuple[Offer, TaskSpec] | None:
        """The next offer, checked and agreed to; None when the federation has no more work for anybody.

        While training is paused none is asked for: others could take its place.
        """
        hardware = await in_thread(find_hardware)
        hold = 0  # the first answer comes at once, to say what is awaited; the next ones when something has changed
        while True:
            await self._gate.opened()
            asked = asyncio.get_running_loop().time()
            message = CheckIn(
                client_version=__version__,
                accelerator="cuda" if hardware.accelerator == "cuda" else "cpu",
                memory_gib=hardware.memory_class,
                wait=hold,
            )
            try:
                reply = await self._context.transport.send(message, wait=hold)
            except UnauthorizedError:
                if not await self._enrolment.renew():
                    raise
                continue
            match reply:
                case Offer():
                    await in_thread(self._enrolment.note_finish, None)
                    return reply, await self._agree(reply)
                case Wait():
                    await in_thread(self._enrolment.note_finish, None)
                    self._tell_wait(reply)
                    if hold:
                        await pause(reply, asked)
                    hold = HOLD_SECONDS
                case Closed():
                    reason = said_by_server(reply.reason)
                    await in_thread(self._enrolment.note_finish, reason)
                    self._context.emit(events.FederationFinished(reason))
                    return None
                case _:
                    raise ProtocolError(f"The server answered a check-in with a {type(reply).__name__}.")

    def _tell_wait(self, wait: Wait) -> None:
        told = events.Waiting(said_by_server(wait.reason), None, wait.present, wait.expected, wait.until)
        if told != self._told:
            self._told = told
            self._context.emit(told)

    async def _agree(self, offer: Offer) -> TaskSpec:
        task = check_offer(offer, identity=self._state.identity.public, server_key=self._context.server_key)
        self._enrolment.require_agreed(offer.task)
        if await in_thread(self._enrolment.agree, offer.task):
            self._context.emit(agreement(task))
        return task

    async def _take_part(self, group: asyncio.TaskGroup, offer: Offer, task: TaskSpec) -> bool:
        """One round, up to the upload. Whether this device's update is in."""
        context = self._context
        context.emit(
            events.Offered(offer.round, offer.adapter, offer.adapter_size, offer.train_until, offer.not_after, task)
        )
        await self._settle_earlier(offer)
        try:
            update = await obtain_update(
                offer,
                task,
                state=self._state,
                preferences=self._preferences,
                transport=context.transport,
                train=self._train,
                emit=context.emit,
                clock=context.clock,
                gate=self._gate,
                records=self._records,
            )
        except TooSlowError as reason:
            context.emit(events.Declined(offer.round, str(reason)))
            await asyncio.sleep(max(REST_SECONDS, offer.train_until - context.clock()))
            return False
        except NotFoundError as reason:  # the version has gone since it was offered
            context.emit(events.Declined(offer.round, str(reason)))
            await asyncio.sleep(REST_SECONDS)
            return False
        await in_thread(self._drop_old_adapters)
        participation = self._start(group, await in_thread(self._new_attempt, offer, update))
        await participation.settled.wait()
        if not participation.contributed:
            await asyncio.sleep(REST_SECONDS)
        return participation.contributed

    async def _settle_earlier(self, offer: Offer) -> None:
        earlier = [
            task
            for attempt in await in_thread(lambda: self._state.attempts)
            if attempt.alive and attempt.mustered.adapter == offer.adapter and (task := self._tasks.get(attempt.name))
        ]
        if earlier:
            reason = "An earlier cohort on this adapter version is about to end."
            self._context.emit(events.Waiting(reason, offer.round))
            await asyncio.wait(earlier, timeout=SETTLING_SECONDS)

    def _new_attempt(self, offer: Offer, update: UpdateFolder) -> Attempt:
        secret = os.urandom(ROUND_SECRET_SIZE)
        muster, not_after = make_muster(
            offer,
            self._state.identity,
            RoundKey(secret).public,
            federation=self._enrolment.federation,
            floor=self._preferences.min_survivors,
            now=int(self._context.clock()),
        )
        mustered = Mustered(
            round=offer.round,
            adapter=offer.adapter,
            task_hash=sha256(offer.task).digest(),
            update=update.name,
            not_after=not_after,
            muster=encode(muster),
            time=int(self._context.clock()),
        )
        return self._state.new_attempt(mustered, secret)

    async def _supersede(self, attempt: Attempt) -> None:
        """This device is about to contribute anew from an adapter version: its earlier keys for it go first."""
        adapter, reason = attempt.mustered.adapter, "This device contributed anew from the same adapter version."
        for other in await in_thread(lambda: self._state.attempts):
            if other.name != attempt.name and other.alive and other.mustered.adapter == adapter:
                await self._cut_short(other, "superseded", reason)

    async def _expire(self) -> None:
        """Delete the round keys that nobody may ask about any more: also of rounds that this device no longer asks
        after, and while the server cannot be reached."""
        while True:
            await asyncio.sleep(EXPIRY_SECONDS)
            now = self._context.clock()
            overdue = [attempt for attempt in self._begun.values() if attempt.mustered.not_after < now]
            async with self._expiring:
                for attempt in overdue:
                    await self._cut_short(attempt, "expired", EXPIRED)
                    del self._begun[attempt.name]

    async def _cut_short(self, attempt: Attempt, outcome: Outcome, reason: str) -> None:
        """End an attempt from without, its key first of all."""
        if task := self._tasks.get(attempt.name):
            task.cancel()
            await asyncio.wait([task])
        if not attempt.alive:
            return
        past, mustered = attempt.past, attempt.mustered
        ended = Ended(
            round=mustered.round,
            outcome=outcome,
            counted=False,
            survivors=0,
            members=0,
            bytes_up=past.bytes_up if past else 0,
            time=int(self._context.clock()),
            reason=reason,
            began=mustered.time,
            sent=past.sent if past else 0,
        )
        await in_thread(self._state.end, attempt, ended)
        self._context.emit(events.RoundFinished(mustered.round, outcome, False, reason=reason))

    def _drop_old_adapters(self) -> None:
        """All but the newest, those included of which only a part came down."""
        folder = self._state.folder / "adapters"
        files = sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime, reverse=True)
        for path in files[ADAPTERS_KEPT:]:
            self._state.disk.remove(path)
