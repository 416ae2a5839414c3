"""The driver: takes events to the ledger, and does what the ledger says is due."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TypeVar

from agg_server.adapters.publishing import read_version
from agg_server.config import GO_ON
from agg_server.errors import BusyError
from agg_server.ledger import Due, Ledger, Proposal
from agg_server.rounds.effects import ChooseSurvivors, Effect, FormCohorts, OpenSum, Propose, give_up
from agg_server.rounds.events import AnyEvent, CohortEnded, CohortEvent, RoundEnded
from agg_server.rounds.report import RoundReport, report
from agg_server.rounds.state import FINAL
from agg_server.rounds.words import describe
from agg_server.standing import Standing, standing
from agg_server.store import Claims, Database, Journal, SharedNonces, Watch
from agg_server.summing.clipping import widest_range
from agg_server.watching.logs import about
from agg_server.watching.metrics import Metrics
from fedit_shared.errors import ConflictError, FeditError

from .attendance import Attendance
from .desk import Desk
from .failures import Failures, may_pass
from .leading import Leading
from .opening import Plans, next_proposal
from .waiting import Waiting
from .work import Job, Tools, job, opening_ranges, ranges_from
from .writer import Turn, Writer

T = TypeVar("T")
HOUSEKEEPING_SECONDS = 5.0
ELSEWHERE_SECONDS = 2.0
"""How soon to see whether a sum that another replica opens still is to be opened."""
_log = logging.getLogger(__name__)


def lane(due: Due) -> Due:
    """Effects of one lane are done one after the other: a later attempt, with more reports or answers, of the same."""
    match due.effect:
        case FormCohorts():
            return Due(due.round, FormCohorts(musters=0))
        case ChooseSurvivors(cohort=cohort):
            return Due(due.round, ChooseSurvivors(cohort=cohort, reports=0, last=False))
        case OpenSum(cohort=cohort):
            return Due(due.round, OpenSum(cohort=cohort, answers=0, last=False))
    return due


class Driver:
    """One federation at work. :meth:`start` first, :meth:`stop` last.

    Where several replicas share the database, what is due is done by the one that leads; sums, which are the heavy
    part, by whichever has claimed them. A server that is alone leads.
    """

    def __init__(
        self,
        *,
        database: Database,
        ledger: Ledger,
        desk: Desk,
        tools: Tools,
        plans: Plans,
        metrics: Metrics,
        clock: Callable[[], float],
        threads: int,
    ) -> None:
        self.ledger = ledger
        self.desk = desk
        self.tools = tools
        self.clock = clock
        self.waiting = Waiting()
        self._database = database
        self._plans = plans
        self._metrics = metrics
        self._claims = Claims(database)
        self._leading: Leading | None = None
        if database.shared:
            self._leading = Leading(Watch(database), self._claims, self._lead, self._look)
        self._writer = Writer(ledger, clock, self._after_turn)
        self.attendance = Attendance(database, desk, self._writer)
        self._pool = ThreadPoolExecutor(threads, "work")
        self._started: set[Due] = set()
        self._lanes: set[Due] = set()
        self._failures = Failures()
        self._tasks: set[asyncio.Task[None]] = set()
        self._writing: asyncio.Task[None] | None = None
        self._stopping = False
        self._left_over = False
        """Whether something that the end of a cohort or a round leaves to be done failed."""

    async def start(self) -> None:
        """Fold the journal, and go on from there."""
        await self.on_ledger(self.ledger.load)
        await self.attendance.read()
        await self.on_pool(self.tools.blobs.settle)
        current = await self.on_ledger(lambda: self.ledger.current)
        if current is not None:
            adapter = (current.ended or current.opened).adapter
            await self.on_pool(partial(read_version, self.tools.blobs, adapter))  # a damaged one is found now
        self._writing = asyncio.create_task(self._writer.run())
        if self._leading is not None:
            await self._leading.start()
        else:
            await self._lead()
        await self.standing()
        self._spawn(self._keep_house())

    async def stop(self) -> None:
        """Let everybody go, finish what is being written, and close."""
        self._stopping = True
        self.waiting.close()
        if self._leading is not None:
            await self._leading.stop()
        for task in self._tasks:
            task.cancel()
        self._writer.stop()
        if self._writing is not None:
            await self._writing
        with suppress(FeditError):
            await self.attendance.write()
        await self.on_pool(self._claims.close)
        self._writer.close()
        self._pool.shutdown(cancel_futures=True)

    async def on_pool(self, work: Callable[[], T]) -> T:
        """Run something that takes its time, on a worker thread."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def on_ledger(self, work: Callable[[], T]) -> T:
        """Run a read of the ledger or a transaction of its own, on the ledger's thread."""
        return await self._writer.call(work)

    async def submit(self, proposal: Proposal) -> None:
        """Record an event; it is on disk when this returns. Raises why it was refused."""
        await self._writer.submit(proposal)

    async def standing(self) -> Standing:
        """How the federation stands now; the metrics tell it from now on."""
        config, task = self.tools.config, self._plans.task

        def read() -> tuple[Standing, RoundReport | None]:
            current = self.ledger.current
            with self._database.begin() as connection:
                found = standing(connection, config.federation, current)
                made_by = found.newest.round
                return found, None if made_by is None else Journal().report_of(connection, made_by)

        found, published = await self.on_ledger(read)
        self._metrics.stands(found.current.version, found.newest.created, finished=found.finished)
        if published is not None:
            self._metrics.published(published)
        ranges = opening_ranges(config, task, ranges_from(found.current, task))
        self._metrics.ranges(max(ranges) / widest_range(task) if config.round.clip == "auto" else None)
        return found

    @property
    def queued(self) -> int:
        """Events that wait for the writer."""
        return self._writer.queued

    @property
    def leads(self) -> bool:
        """Whether this process does what is due."""
        return self._leading is None or self._leading.now

    @asynccontextmanager
    async def claimed(self, name: bytes) -> AsyncIterator[None]:
        """Of all replicas, only this one is in here under this name. Raises BusyError if another is."""
        if not self._database.shared:
            yield
            return
        if not await self.on_pool(partial(self._claims.take, name)):
            raise BusyError("Another request of this device is under way.", advice="Try again in a moment.")
        try:
            yield
        finally:
            await self._give_back(name)

    async def _give_back(self, claim: bytes) -> None:
        await self.on_pool(partial(self._claims.give_back, claim))

    def _after_turn(self, turn: Turn) -> None:
        self.waiting.update(turn.stages)
        self._metrics.stages(turn.stages, self.clock())
        self._started &= set(turn.due)  # what is not due any more may become so again
        self._failures.keep({lane(due) for due in turn.due})
        for due in turn.due:
            if due not in self._started and lane(due) not in self._lanes and self._does(due):
                self._started.add(due)
                self._lanes.add(lane(due))
                self._spawn(self._perform(due))
        for number, _, event in turn.recorded:
            self._metrics.recorded(event)
            if (words := describe(event)) is not None:
                cohort = event.cohort if isinstance(event, CohortEvent) else None
                _log.info("round %d: %s", number, words, extra=about(round=number, cohort=cohort))
            if isinstance(event, CohortEnded):
                self._spawn(self._or_later(self._clear([event.cohort])))
            elif isinstance(event, RoundEnded):
                self._spawn(self._or_later(self._wind_up()))

    def _does(self, due: Due) -> bool:
        return self.leads or isinstance(due.effect, OpenSum)

    async def _perform(self, due: Due) -> None:
        try:
            await self._attempt(due)
        except _ElsewhereError:
            await asyncio.sleep(ELSEWHERE_SECONDS)
            self._started.discard(due)
        except Exception as error:
            await self._after_failure(due, error)
        finally:
            self._lanes.discard(lane(due))
            self._writer.look()  # something newer may have had to wait for this

    async def _attempt(self, due: Due) -> None:
        if isinstance(due.effect, FormCohorts):
            await self.attendance.dismiss()  # whoever was blocked seconds ago gets into no cohort
            if not await self._still_due(due):
                return
        claim = due.effect.cohort if isinstance(due.effect, OpenSum) and self._database.shared else None
        work = await self.on_ledger(partial(self._job, due))
        if work is None:
            return
        try:
            event = await self.on_pool(partial(self._work, work, claim))
            if event is not None:
                await self.submit(Proposal(due.round, event))
        finally:
            if claim is not None:  # one that failed here may go well elsewhere
                self._spawn(self._or_later(self._give_back(claim)))

    def _work(self, work: Job, claim: bytes | None) -> AnyEvent | None:
        """Do it, unless another replica does. Claimed only when a thread is free: each takes what it can do."""
        if claim is not None and not self._claims.take(claim):
            raise _ElsewhereError
        return work()

    async def _after_failure(self, due: Due, error: Exception) -> None:
        """Wait before the next attempt, or give up what only a mended program could do: no federation is to hang on
        one cohort. Nothing, if the job has become needless meanwhile."""
        if not await self._still_due(due):
            _log.debug("round %d: not needed any more: %s", due.round, error, extra=_about(due))
            return
        name, count = _name(due.effect), self._failures.note(lane(due), error)
        self._metrics.job_failed(name)
        shown = None if isinstance(error, FeditError | OSError) else error
        _log.error(
            "round %d: %s failed (%d), trying again in %.0f s: %s",
            *(due.round, name, count.failures, count.pause, error or type(error).__name__),
            exc_info=shown,
            extra=_about(due),
        )
        if count.hopeless and await self._give_up(due, f"{name} failed {count.broken} times ({type(error).__name__})"):
            return
        await asyncio.sleep(count.pause)
        self._started.discard(due)

    async def _still_due(self, due: Due) -> bool:
        try:
            ahead = await self.on_ledger(lambda: self.ledger.due(self.clock()))
        except Exception:
            return True
        return lane(due) in map(lane, ahead)

    async def _give_up(self, due: Due, reason: str) -> bool:
        """Whether what the job was for has been ended without it."""
        round = await self.on_ledger(lambda: self.ledger.live(due.round))
        event = None if round is None else give_up(round, due.effect, f"{reason}: the server's log has more")
        if event is None:
            return False
        try:
            await self.submit(Proposal(due.round, event))
        except FeditError as error:
            _log.error("round %d: it cannot be given up either: %s", due.round, error, extra=_about(due))
            return False
        _log.error("round %d: given up: %s", due.round, reason, extra=_about(due))
        return True

    def _job(self, due: Due) -> Job | None:
        round = self.ledger.live(due.round)
        return None if round is None else job(self.tools, round, due.effect, self.clock())

    async def _wind_up(self) -> None:
        """A round has ended: tell of it, free its disk space, open the next."""
        kept, final = await self.on_ledger(self._last_round)
        if kept is not None:
            self._metrics.round_ended(kept)
        await self._clear(final)
        await self._advance()
        if (await self.standing()).finished:
            _log.info("%s %s", self.tools.config.federation.finish, GO_ON)

    def _last_round(self) -> tuple[RoundReport | None, list[bytes]]:
        round = self.ledger.current
        if round is None:
            return None, []
        final = [cohort.id for cohort in round.cohorts.values() if cohort.phase in FINAL]
        return report(round, self.clock()), final

    def _look(self) -> None:
        self._writer.look()

    async def _lead(self) -> None:
        """Go on with what an earlier leader, or an earlier run of this process, may have left."""
        self._metrics.leads(self.leads)
        if not self.leads:
            return
        await self._clear_what_was_left()
        await self._advance()
        self._writer.look()

    async def _clear_what_was_left(self) -> None:
        left = await self.on_pool(self.tools.rooms.occupied)  # before it is asked which are busy: none is newer
        busy = await self.on_ledger(self.ledger.busy_cohorts)
        await self._clear(sorted(left - busy))

    async def _clear(self, cohorts: list[bytes]) -> None:
        for cohort in cohorts:
            await self.on_pool(partial(self.tools.rooms.clear, cohort))

    async def _advance(self) -> None:
        proposal = await self.on_ledger(self._next_proposal)
        if proposal is not None:
            with suppress(ConflictError):  # a housekeeping and a round's end may both have asked
                await self.submit(proposal)

    def _next_proposal(self) -> Proposal | None:
        current = self.ledger.current
        with self._database.begin() as connection:
            return next_proposal(connection, self.tools, self._plans, current, self.tools.random(32))

    async def _keep_house(self) -> None:
        used = SharedNonces(self._database)
        while not self._stopping:
            await asyncio.sleep(HOUSEKEEPING_SECONDS)
            await self._or_later(self._house(used))

    async def _house(self, used: SharedNonces) -> None:
        if self._left_over:
            self._left_over = False
            await self._clear_what_was_left()
        await self.attendance.write()
        await self.attendance.dismiss()
        if self.leads:
            await self._advance()
            if self._database.shared:
                await self.on_pool(used.tidy)
        await self.standing()  # another replica may have ended a round, or the operator gone back
        self._writer.look()  # the clock may have been set

    async def _or_later(self, work: Coroutine[None, None, None]) -> None:
        """What is left undone since the disk or the database failed is done by the housekeeping."""
        try:
            await work
        except Exception as error:
            self._left_over = True
            self._metrics.job_failed("Housekeeping")
            _log.error("housekeeping failed, trying again: %s", error, exc_info=None if may_pass(error) else error)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        if self._stopping:
            work.close()
            return
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _about(due: Due) -> dict[str, object]:
    effect = due.effect.event if isinstance(due.effect, Propose) else due.effect
    return about(round=due.round, cohort=getattr(effect, "cohort", None))


class _ElsewhereError(Exception):
    """Another replica does this."""


def _name(effect: Effect) -> str:
    return type(effect.event if isinstance(effect, Propose) else effect).__name__
