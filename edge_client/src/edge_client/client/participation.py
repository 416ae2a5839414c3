"""One device in one round, from its muster to the proved end: the table of :mod:`edge_client.rounds`, carried out."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from edge_client.reasons import said_by_server
from edge_client.rounds import Action, next_action, require_expected
from edge_client.state import Attempt, CorruptStateError, Ended, FederationState, Outcome, Past, SpentError
from edge_client.transport import Transport, WrongServerError, upload
from fedit_shared.errors import (
    ConflictError,
    IncompatibleError,
    NotFoundError,
    ProtocolError,
    UnauthorizedError,
    UnsafeError,
)
from fedit_shared.messages import (
    Accepted,
    Answer,
    Certificate,
    ClientMessage,
    Closed,
    Poll,
    Prepare,
    Result,
    Roster,
    Survivors,
    Vote,
    Wait,
)
from fedit_shared.messages.client import Step
from fedit_shared.secagg.bodies import MusterBody, decode_survivors

from . import events
from .seat import Contribute, Seat
from .threads import in_thread

HOLD_SECONDS = 50
"""So long the server may hold a question open: less than what home routers forget a silent connection after."""
LEAST_PAUSE = 0.2
"""Seconds between two questions, whatever the server says."""
FATAL = (UnauthorizedError, IncompatibleError, WrongServerError)
"""Refusals that concern the device as a whole and not one round."""
UPLOAD_TRIES = 2
TOO_LATE = (ConflictError, NotFoundError)
EXPIRED = "Nobody may ask for answers any more."


@dataclass(frozen=True)
class Context:
    """What all participations of a client share."""

    state: FederationState
    transport: Transport
    server_key: bytes
    clock: Callable[[], float]
    emit: Callable[[events.Event], None]
    contribute: Contribute


async def pause(wait: Wait, asked: float) -> None:
    """Pause before asking again what was asked at loop time ``asked``: the time that the server held it counts."""
    held = asyncio.get_running_loop().time() - asked
    await asyncio.sleep(max(LEAST_PAUSE, wait.seconds - held))


class Participation:
    """Carries out one attempt. :meth:`run` returns when nothing more can be done for it, at least for now.

    ``settled`` is set once the update has gone up, or will not: then the device is free for another round.
    """

    def __init__(self, context: Context, attempt: Attempt, supersede: Callable[[Attempt], Awaitable[None]]) -> None:
        """``supersede`` ends every other live attempt from the same adapter version."""
        self.attempt = attempt
        self.settled = asyncio.Event()
        self._context = context
        self._supersede = supersede
        self._transport = context.transport.branch()
        self._mustered = attempt.mustered
        self._round = self._mustered.round
        self._past = attempt.past
        self._bytes_before = self._past.bytes_up if self._past else 0
        self._seat: Seat | None = None
        self._told: events.Waiting | None = None
        self._asked_after: Step | None = None

    @property
    def contributed(self) -> bool:
        """Whether the server has this device's update."""
        past = self._past
        return past is not None and past.step != "mustered" and not past.late

    async def run(self) -> None:
        """Go on until the round is over for this device. Raises what concerns more than this round."""
        try:
            while await self._next():
                if self._past is not None and self._past.step != "mustered":
                    self.settled.set()
        except FATAL:
            raise
        except ProtocolError as refused:
            # This device was asked for what it must not do. Its key stays until the rules end it.
            self._tell_end("refused", reason=str(refused))
        finally:
            self.settled.set()

    async def _next(self) -> bool:
        """Do one thing. False when there is no more to do."""
        if self._context.clock() > self._mustered.not_after:
            return await self._end("expired", reason=EXPIRED)
        held, roster = await in_thread(lambda: (self.attempt.held, self.attempt.roster()))
        if roster is not None and self._seat is None:
            await self._sit(roster)
        until = roster.contribute_until if roster else 0
        match next_action(held, now=int(self._context.clock()), contribute_until=until):
            case Action.MUSTER:
                return await self._muster()
            case Action.CONTRIBUTE:
                return await self._contribute()
            case Action.UPLOAD:
                return await self._upload()
            case Action.SKIP_UPLOAD:
                return await self._too_late("Its window is over.")
            case Action.REPORT:
                await self._send_or_skip(await in_thread(self._taken_seat.report))
                return await self._passed("reported", events.Reported(self._round))
            case Action.SEND_VOTE:
                await self._send_kept(await in_thread(self.attempt.vote))
                return await self._passed("voted")
            case Action.SEND_ANSWER:
                await self._send_kept(await in_thread(self.attempt.answer))
                return await self._passed("answered", events.Answered(self._round))
            case Action.ASK:
                return await self._ask()
            case Action.NOTHING:
                return False

    async def _muster(self) -> bool:
        muster = await in_thread(self.attempt.muster)
        try:
            await self._send(muster)
        except (*TOO_LATE, UnsafeError) as refusal:
            return await self._forget(str(refusal))
        floor = MusterBody.decode(muster.body).floor
        return await self._passed("mustered", events.Mustered(self._round, floor, self._mustered.not_after))

    async def _contribute(self) -> bool:
        await self._supersede(self.attempt)
        try:
            made = await in_thread(self._taken_seat.seal, self._context.contribute)
        except (SpentError, CorruptStateError) as error:
            return await self._too_late(error.message)
        except UnsafeError as refusal:
            return await self._forget(str(refusal), "refused")
        self._context.emit(events.Sealed(self._round, made.clipped))
        return True

    async def _upload(self) -> bool:
        deal = await in_thread(self.attempt.deal)
        assert deal is not None, "sealed before it is sent"
        refusal = ""

        def progress(sent: int, total: int) -> None:
            self._context.emit(events.Uploading(self._round, sent, total))

        for _ in range(UPLOAD_TRIES):
            try:
                await upload(self._transport, deal.cohort, self.attempt.vector, progress)
                await in_thread(self._taken_seat.spend)
                await self._send(deal)
            except FATAL:
                raise
            except ProtocolError as refused:
                refusal = str(refused)  # perhaps the server has lost a chunk: the next try finds out which
            else:
                told = events.Contributed(self._round, self._bytes_up)
                return await self._passed("contributed", told, sent=int(self._context.clock()))
        return await self._too_late(refusal)

    async def _too_late(self, reason: str) -> bool:
        self._context.emit(events.Notice(f"Round {self._round}: this device's update is not in it. {reason}"))
        return await self._passed("contributed", late=reason)

    async def _ask(self) -> bool:
        after: Step = self._past.step if self._past else "mustered"
        cohort = self._seat.session.roster.cohort if self._seat else None
        hold = HOLD_SECONDS if after == self._asked_after else 0  # at first, to be told at once what is awaited
        self._asked_after = after
        question = Poll(round=self._round, cohort=cohort, after=after, wait=hold)
        asked = asyncio.get_running_loop().time()
        reply = await self._transport.send(question, wait=hold)
        require_expected(after, reply)
        match reply:
            case Wait():
                self._tell_wait(reply)
                if hold:
                    await pause(reply, asked)
            case Closed():
                return await self._closed(reply)
            case Result():
                return await self._result(reply)
            case Roster():
                return await self._bind(reply)
            case Prepare():
                await in_thread(self.attempt.keep_prepare, reply)
            case Survivors():
                await in_thread(self._taken_seat.vote, reply)
                self._context.emit(events.Voted(self._round, len(decode_survivors(reply.survivors))))
            case Certificate():
                await self._answer(reply, after)
        return True

    def _tell_wait(self, wait: Wait) -> None:
        told = events.Waiting(said_by_server(wait.reason), self._round, wait.present, wait.expected, wait.until)
        if told != self._told:
            self._told = told
            self._context.emit(told)

    async def _bind(self, roster: Roster) -> bool:
        try:
            await self._sit(roster)
        except ProtocolError as unfit:
            return await self._forget(str(unfit), "refused")
        return True

    async def _sit(self, roster: Roster) -> None:
        context = self._context
        seat = await in_thread(Seat, context.state, self.attempt, roster, context.server_key)
        self._seat = seat
        numbers, cohort = seat.session.parameters, seat.session.roster.cohort
        told = events.RosterAccepted(self._round, cohort, numbers.members, numbers.threshold, seat.session.floor)
        context.emit(told)

    @property
    def _taken_seat(self) -> Seat:
        assert self._seat is not None, "the table asks for nothing of a cohort before its roster is there"
        return self._seat

    async def _answer(self, certified: Certificate, after: Step) -> None:
        if after == "reported":
            await self._passed("voted")  # the vote went on without this device
        if not certified.survivors:
            await self._passed("answered")
        elif not await in_thread(self._taken_seat.answer, certified):
            self._context.emit(events.Notice(f"Round {self._round}: a survivor's packet is unusable; no answer given."))
            await self._passed("answered")

    async def _closed(self, closed: Closed) -> bool:
        if self._seat is None:
            return await self._forget(said_by_server(closed.reason))
        # Unproved, so the key stays until nobody may ask any more; this device asks again when it is next started.
        self._tell_end("closed", reason=said_by_server(closed.reason))
        return False

    async def _result(self, result: Result) -> bool:
        if self._seat is None:
            return await self._forget("The round ended without this device.")
        verdict = await in_thread(self._seat.judge, result)
        return await self._end(
            result.outcome,
            counted=verdict.counted,
            survivors=len(verdict.survivors),
            mean_loss=result.mean_loss,
            adapter=result.adapter,
        )

    async def _send(self, message: ClientMessage) -> None:
        reply = await self._transport.send(message)
        if not isinstance(reply, Accepted):
            raise ProtocolError(f"The server answered a {type(message).__name__} with a {type(reply).__name__}.")

    async def _send_or_skip(self, message: ClientMessage) -> None:
        try:
            await self._send(message)
        except TOO_LATE as refusal:  # the others went on without it; what comes next can be asked for all the same
            self._context.emit(events.Notice(f"Round {self._round}: {refusal}"))

    async def _send_kept(self, message: Vote | Answer | None) -> None:
        assert message is not None, "kept before it is sent"
        await self._send_or_skip(message)

    @property
    def _bytes_up(self) -> int:
        return self._bytes_before + self._transport.sent_bytes

    async def _passed(
        self, step: Step, event: events.Event | None = None, *, late: str | None = None, sent: int = 0
    ) -> bool:
        """Keep that ``step`` is behind this device. ``late``: why the update did not go up; ``sent``: when it had."""
        before = self._past
        self._past = Past(
            step=step,
            bytes_up=self._bytes_up,
            late=late is not None or (before is not None and before.late),
            sent=sent or (before.sent if before else 0),
            reason=late or (before.reason if before else ""),
        )
        await in_thread(self.attempt.passed, self._past)
        if event is not None:
            self._context.emit(event)
        return True

    async def _forget(self, reason: str, outcome: Outcome = "closed") -> bool:
        """End an attempt of which nothing has left: its update stays as good as it was."""
        await in_thread(self.attempt.discard)
        self._tell_end(outcome, reason=reason)
        return False

    async def _end(
        self,
        outcome: Outcome,
        *,
        counted: bool = False,
        survivors: int = 0,
        mean_loss: float | None = None,
        adapter: bytes = b"",
        reason: str = "",
    ) -> bool:
        ended = Ended(
            round=self._round,
            outcome=outcome,
            counted=counted,
            survivors=survivors,
            members=self._members,
            bytes_up=self._bytes_up,
            time=int(self._context.clock()),
            reason=reason or (self._past.reason if self._past else ""),
            began=self._mustered.time,
            sent=self._past.sent if self._past else 0,
            mean_loss=mean_loss,
            adapter=adapter,
        )
        await in_thread(self._context.state.end, self.attempt, ended)
        self._tell_end(outcome, counted, survivors, mean_loss, adapter, reason)
        return False

    @property
    def _members(self) -> int:
        return self._seat.session.parameters.members if self._seat else 0

    def _tell_end(
        self,
        outcome: Outcome,
        counted: bool = False,
        survivors: int = 0,
        mean_loss: float | None = None,
        adapter: bytes = b"",
        reason: str = "",
    ) -> None:
        self._context.emit(
            events.RoundFinished(
                self._round, outcome, counted, survivors, self._members, self._bytes_up, mean_loss, adapter, reason
            )
        )
