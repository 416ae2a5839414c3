"""A round's state, and its cohorts'. Only :mod:`.transitions` changes it."""

from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from hashlib import sha256

from fedit_shared.messages import RoundSettings, TaskSpec, decode_settings, decode_task
from fedit_shared.secagg import Aggregator, Session
from fedit_shared.secagg.bodies import MusterBody, RosterBody, decode_survivors
from fedit_shared.secagg.session import compute_sid
from fedit_shared.strategies import Turn

from .events import CohortEnded, FormedCohort, Mustered, RoundEnded, RoundOpened, SumOpened


class Phase(Enum):
    """Where a round or a cohort stands."""

    MUSTER = "muster"
    """Round: devices train and come back."""
    COHORTS = "cohorts"
    """Round: its cohorts are at work."""
    OVER = "over"
    """Round: the step is taken, or there is none."""

    CONTRIBUTE = "contribute"
    """Cohort: masked vectors come in."""
    PREPARE = "prepare"
    """Cohort: members report which packets they could use."""
    VOTE = "vote"
    """Cohort: the list of survivors is offered."""
    ANSWER = "answer"
    """Cohort: the list is certified, members answer."""
    OPENED = "opened"
    """Cohort: its sum is known."""
    GIVEN_UP = "given up"
    """Cohort: the empty list is offered, so that members get their updates back. The round goes on without it."""
    ENDED = "ended"
    """Cohort: no sum will come."""


ROUND_NEEDS_NO_MORE = frozenset({Phase.OPENED, Phase.GIVEN_UP, Phase.ENDED})
FINAL = frozenset({Phase.OPENED, Phase.ENDED})


@dataclass
class Cohort:
    """One cohort. Times are Unix seconds; None: not yet."""

    formed: FormedCohort
    settings: RoundSettings
    aggregator: Aggregator
    contribute_until: float
    answer_grace: float
    phase: Phase = Phase.CONTRIBUTE
    closed_at: float | None = None
    reports_suffice_at: float | None = None
    given_up: str = ""
    suspects: set[bytes] = field(default_factory=set)
    opened: SumOpened | None = None
    ended: CohortEnded | None = None
    ended_at: float | None = None

    @property
    def id(self) -> bytes:
        """The 16 bytes that name it."""
        return self.formed.cohort

    @property
    def session(self) -> Session:
        """Roster, task, settings and sid."""
        return self.aggregator.session

    @property
    def not_after(self) -> float:
        """Nobody answers later than this."""
        return float(self.settings.not_after)

    @property
    def prepare_until(self) -> float:
        """A cohort without a list of survivors by then is given up: half of the time is left to vote on that."""
        closed = self.contribute_until if self.closed_at is None else self.closed_at
        return (closed + self.not_after) / 2

    @property
    def waited_in_vain(self) -> bool:
        """Whether it ended because time was over, and not for something of the server's own."""
        return self.ended_at is not None and self.ended_at >= self.not_after

    @property
    def threshold(self) -> int:
        """r: reports, votes and answers that suffice."""
        return self.session.parameters.threshold

    @property
    def survivors(self) -> tuple[bytes, ...]:
        """Identities in U; empty while there is none."""
        return tuple(entry.identity for entry in decode_survivors(self.aggregator.survivors or b""))


@dataclass
class Round:
    """One round, from its opening until its last cohort is final."""

    opened: RoundOpened
    opened_at: float
    phase: Phase = Phase.MUSTER
    offered: set[bytes] = field(default_factory=set)
    musters: dict[bytes, Mustered] = field(default_factory=dict)
    promised: dict[bytes, int] = field(default_factory=dict)
    """identity → until when it promised, in its muster, to be there."""
    musters_suffice_at: float | None = None
    """Since when they have been enough for a cohort."""
    withdrawn: dict[bytes, str] = field(default_factory=dict)
    left_out: dict[bytes, str] = field(default_factory=dict)
    cohorts: dict[bytes, Cohort] = field(default_factory=dict)
    members: dict[bytes, Cohort] = field(default_factory=dict)
    """identity → its cohort."""
    ended: RoundEnded | None = None
    ended_at: float | None = None

    @property
    def number(self) -> int:
        """From 1, never used twice."""
        return self.opened.round

    @cached_property
    def task(self) -> TaskSpec:
        """The task, decoded."""
        return decode_task(self.opened.task)

    @cached_property
    def turn(self) -> Turn:
        """Which tensors it sums."""
        return self.task.turn(self.number)

    @cached_property
    def task_hash(self) -> bytes:
        """SHA-256 of the task's bytes."""
        return sha256(self.opened.task).digest()

    @property
    def version(self) -> int:
        """The adapter version that it ended with; until then the one that it works on."""
        return (self.ended or self.opened).version

    @property
    def final(self) -> bool:
        """Whether nothing more can happen in it."""
        return self.ended is not None and all(cohort.phase in FINAL for cohort in self.cohorts.values())

    @property
    def muster_until(self) -> float | None:
        """When cohorts are formed of those who are there. Its window begins with the muster that makes a cohort
        possible: with the first one, one device that does not train would choose when it ends for everybody."""
        since = self.musters_suffice_at
        return None if since is None else since + self.opened.rules.muster_window

    def must_last_until(self, now: float) -> float:
        """The earliest ``not_after`` with which a muster is of use to a cohort formed at ``now``."""
        return now + self.opened.rules.contribute_window + self.opened.rules.answer_window


def muster_of(event: Mustered) -> MusterBody:
    """What the device signed."""
    return MusterBody.decode(event.body)


def new_cohort(round: Round, formed: FormedCohort, now: float) -> Cohort:
    """A cohort's first state.

    The session is not opened with its checks again: every muster was checked when it came, the rest is this server's
    own, and the driver has opened it once before it proposed the event.
    """
    roster = RosterBody.decode(formed.roster)
    settings = decode_settings(formed.settings, round.task)
    session = Session(roster, round.task, settings, compute_sid(formed.roster, roster))
    rules = round.opened.rules
    return Cohort(formed, settings, Aggregator(session), now + rules.contribute_window, rules.answer_grace)
