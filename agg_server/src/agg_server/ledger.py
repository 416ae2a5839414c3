"""All that the server knows of its rounds, in memory and on disk alike. Synchronous, and belongs to one thread.

:meth:`Ledger.record` is the only way in: a batch of proposed events is checked and applied, written in one
transaction, and only then do their senders hear of it. If the database refuses, the state is folded again from what
is on disk, so memory never runs ahead of it.

Where other replicas record in the same database, nor does it lag behind: a transaction of :meth:`record` has the
journal for itself, and folds what the others wrote before it applies anything; whoever reads folds it first as well. So
all replicas apply the same events in the same order, and what a second one proposes once more is refused by the table
of legal steps.
"""

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from fedit_shared.errors import ConflictError, FeditError, NotFoundError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Result

from . import rounds
from .errors import UnavailableError
from .rounds.effects import Effect
from .rounds.events import Answered, AnyEvent, CohortEnded, CohortEvent, Reported, RoundEnded, RoundOpened, Voted
from .rounds.report import report
from .rounds.state import FINAL, Cohort, Phase, Round
from .rounds.transitions import STALE
from .rounds.views import has_result, make_result
from .store import AdapterVersion, Database, Journal, Recorded, Versions


class Proposal(NamedTuple):
    """An event for this round; a RoundOpened for the round that it opens. A cohort's event names its cohort: None."""

    round: int | None
    event: AnyEvent


class Batch(NamedTuple):
    """What came of proposals: for each, None or why it was refused; and what is new on disk."""

    outcomes: list[FeditError | None]
    recorded: list[Recorded]


class Due(NamedTuple):
    """Something to be done for this round."""

    round: int
    effect: Effect


class Ledger:
    """The live rounds: the current one, and earlier ones in which a cohort is not final.

    ``shared``: others may record in the database as well; None: if it is one that can be shared.
    """

    def __init__(self, database: Database, key: SigningKey, *, shared: bool | None = None) -> None:
        self._database = database
        self._shared = database.shared if shared is None else shared
        self._key = key
        self._journal = Journal()
        self._versions = Versions()
        self._rounds: dict[int, Round] = {}
        self._current: Round | None = None
        self._ahead = True
        self._place = 0
        """Of the last event that is folded."""
        self.moved = False
        """Whether events of others were folded since the last :meth:`record`."""

    def load(self) -> None:
        """Fold the open rounds from the journal."""
        with self._database.alone() as connection:
            self._load(connection)

    def _load(self, connection: Connection) -> None:
        self._ahead = True
        self._place = self._journal.last_event(connection)
        recorded = self._journal.open_events(connection)
        last = self._journal.last_round(connection)
        if last and not any(r.round == last for r in recorded):
            recorded += self._journal.events_of(connection, last)
        self._rounds, self._current = {}, None
        self._fold(recorded)
        self._ahead = False

    def _fold(self, recorded: list[Recorded]) -> None:
        for number, time, event in recorded:
            if isinstance(event, RoundOpened):
                self._current = self._rounds[number] = rounds.open_round(event, time)
            else:
                rounds.apply(self._rounds[number], event, time)
        self._forget_final()

    def _forget_final(self) -> None:
        self._rounds = {number: round for number, round in self._rounds.items() if not round.final}

    @property
    def current(self) -> Round | None:
        """The newest round, over or not; None before the first."""
        self._catch_up()
        return self._current

    @property
    def newest_version(self) -> int:
        """The highest adapter version there is."""
        current = self.current
        if current is None:
            return 0
        published = current.ended is not None and current.ended.outcome == "published"
        return current.opened.next_version if published else current.opened.next_version - 1

    def require_working(self) -> None:
        """Raise UnavailableError if the database does not answer."""
        self._catch_up()
        with self._database.begin() as connection:
            self._journal.last_round(connection)

    def live(self, number: int) -> Round | None:
        """The round of this number, if something can still happen in it."""
        self._catch_up()
        return self._rounds.get(number)

    def all_live(self) -> list[Round]:
        """The rounds in which something can still happen, oldest first."""
        self._catch_up()
        return list(self._rounds.values())

    def cohort(self, cohort: bytes) -> tuple[Round, Cohort]:
        """A live cohort and its round. Raises NotFoundError."""
        self._catch_up()
        return self._find(cohort)

    def record(self, proposals: Sequence[Proposal], now: float) -> Batch:
        """Apply and store what of ``proposals`` is legal, in order.

        What is accepted is on disk when this returns. If the disk refuses, everything is refused.
        """
        if not proposals:
            self._catch_up()
            self.moved = False
            return Batch([], [])
        recorded: list[Recorded] = []
        outcomes: list[FeditError | None] = []
        try:
            with self._database.alone() as connection:
                self._follow(connection)
                self._ahead = True  # until the end: whatever goes wrong, the next to look reads the disk
                for proposed, event in proposals:
                    try:
                        number = self._apply(connection, proposed, event, now)
                        if number is not None:
                            recorded.append(Recorded(number, now, event))
                        outcomes.append(None)
                    except FeditError as error:
                        outcomes.append(error)
                if recorded:
                    self._store(connection, recorded)
                    self._place = self._journal.last_event(connection)
        except UnavailableError as error:
            self._ahead = True
            self.load()
            outcomes += [None] * (len(proposals) - len(outcomes))
            return Batch([outcome or error for outcome in outcomes], [])
        self._forget_final()
        self._ahead = self.moved = False
        return Batch(outcomes, recorded)

    def due(self, now: float) -> list[Due]:
        """Everything that can be done at ``now``, over all live rounds."""
        return [Due(number, effect) for number, round in self._rounds.items() for effect in rounds.due(round, now)]

    def next_time(self, now: float) -> float | None:
        """When to ask :meth:`due` again even if nothing happens."""
        times = [rounds.next_time(round, now) for round in self._rounds.values()]
        return min((time for time in times if time is not None), default=None)

    def stages(self) -> dict[bytes, object]:
        """What devices wait for, by cohort, and under ``b""`` for the current round: a change is worth waking them."""
        found: dict[bytes, object] = {
            cohort.id: (cohort.phase, has_result(round, cohort))
            for round in self._rounds.values()
            for cohort in round.cohorts.values()
        }
        if self._current is not None:
            found[b""] = (self._current.number, self._current.phase)
        return found

    def busy_cohorts(self) -> set[bytes]:
        """The cohorts whose uploads may still be needed."""
        self._catch_up()
        live = (cohort for round in self._rounds.values() for cohort in round.cohorts.values())
        return {cohort.id for cohort in live if cohort.phase not in FINAL}

    def result_for(self, number: int, identity: bytes) -> Result | None:
        """The kept result of this device's cohort in this round."""
        with self._database.begin() as connection:
            return self._journal.result_for(connection, number, identity)

    def _find(self, cohort: bytes) -> tuple[Round, Cohort]:
        for round in self._rounds.values():
            if cohort in round.cohorts:
                return round, round.cohorts[cohort]
        raise NotFoundError("There is no such cohort, or no more.", advice=STALE)

    def _catch_up(self) -> None:
        """Nothing is read from a state that did not reach the disk, or that lags behind what others have recorded."""
        if self._ahead:
            self.load()
        elif self._shared:
            with self._database.begin() as connection:
                self._follow(connection)

    def _follow(self, connection: Connection) -> None:
        """Fold what other replicas have recorded."""
        if self._ahead:
            self._load(connection)
        elif self._shared and (place := self._journal.last_event(connection)) > self._place:
            recorded = self._journal.events_between(connection, self._place, place)
            self._ahead = True
            self._fold(recorded)
            self._place, self._ahead, self.moved = place, False, True

    def _apply(self, connection: Connection, number: int | None, event: AnyEvent, now: float) -> int | None:
        """The round that the event was applied to; None if it need not be recorded."""
        if isinstance(event, RoundOpened):
            current = self._current
            if current is not None and (current.phase is not Phase.OVER or event.round <= current.number):
                raise ConflictError(f"Round {current.number} is not over, or later than this one.")
            self._current = self._rounds[event.round] = rounds.open_round(event, now)
            return event.round
        if isinstance(event, CohortEvent):
            round = self._round_of(connection, event)
        else:
            round = self._rounds.get(number or 0)
            if round is None:
                raise ConflictError(f"Round {number} is not open.", advice=STALE)
        if round is None or rounds.repeats(round, event):
            return None
        rounds.apply(round, event, now)
        return round.number

    def _round_of(self, connection: Connection, event: CohortEvent) -> Round | None:
        """The live round of the event's cohort; None if the cohort is final and the event thus of no use any more."""
        try:
            return self._find(event.cohort)[0]
        except NotFoundError:
            if isinstance(event, Reported | Voted | Answered) and self._journal.was_member(
                connection, event.cohort, event.identity
            ):
                return None
            raise

    def _store(self, connection: Connection, recorded: list[Recorded]) -> None:
        opened = {r.round for r in recorded if isinstance(r.event, RoundOpened)}
        for number in opened:
            round = self._rounds[number]
            self._journal.begin_round(connection, report(round, round.opened_at))
            if self._versions.rollback(connection) == round.opened.version:
                self._versions.forget_rollback(connection)
        self._journal.append(connection, recorded)
        self._database.announce(connection)
        for number, time, event in recorded:
            round = self._rounds[number]
            if isinstance(event, CohortEnded):
                self._keep_result(connection, round, round.cohorts[event.cohort])
            elif isinstance(event, RoundEnded):
                self._keep_round(connection, round, event, time)
            else:
                continue
            self._journal.keep_report(connection, report(round, time), final=round.final)

    def _keep_round(self, connection: Connection, round: Round, ended: RoundEnded, now: float) -> None:
        for cohort in round.cohorts.values():
            if cohort.opened is not None:
                self._keep_result(connection, round, cohort)
        if ended.outcome == "published":
            version = AdapterVersion(
                version=ended.version,
                adapter=ended.adapter,
                parent=round.opened.version,
                round=round.number,
                created=now,
                size=ended.adapter_size,
                clip=ended.clip,
            )
            self._versions.add(connection, version)

    def _keep_result(self, connection: Connection, round: Round, cohort: Cohort) -> None:
        self._journal.keep_result(connection, make_result(round, cohort, self._key), cohort.session.identities)
