"""What is to be done now, and when to look again: read from the state alone, so that a restart finds all of it.

An effect says what is missing, not what happened: the driver does each once, and its result comes back as an event.
"""

from collections.abc import Iterator

import msgspec

from .causes import EXPIRED
from .events import AnyEvent, CohortEnded, ContributeClosed, Outcome, RoundEnded, SurvivorsOffered, Withdrawn
from .state import FINAL, ROUND_NEEDS_NO_MORE, Cohort, Phase, Round


class _Effect(msgspec.Struct, frozen=True, kw_only=True):
    pass


class Propose(_Effect, frozen=True, kw_only=True):
    """Record this: time alone decides it."""

    event: AnyEvent


class FormCohorts(_Effect, frozen=True, kw_only=True):
    """The muster's window is over. ``musters``: how many there are (another number is another attempt)."""

    musters: int


class ChooseSurvivors(_Effect, frozen=True, kw_only=True):
    """Choose U from so many reports. ``last``: without a U now, the cohort is given up."""

    cohort: bytes
    reports: int
    last: bool


class OpenSum(_Effect, frozen=True, kw_only=True):
    """Interpolate the key from so many answers and unmask. ``last``: if it fails now, the cohort has failed."""

    cohort: bytes
    answers: int
    last: bool


class TakeStep(_Effect, frozen=True, kw_only=True):
    """All cohorts are through: make the next adapter from these."""

    cohorts: tuple[bytes, ...]


Effect = Propose | FormCohorts | ChooseSurvivors | OpenSum | TakeStep


def due(round: Round, now: float) -> list[Effect]:
    """Everything that can be done at ``now``."""
    effects: list[Effect] = []
    if round.phase is Phase.MUSTER:
        effects += _in_muster(round, now)
    for cohort in round.cohorts.values():
        effects += _in_cohort(cohort, now)
    if round.phase is Phase.COHORTS and all(c.phase in ROUND_NEEDS_NO_MORE for c in round.cohorts.values()):
        effects.append(_end_of(round))
    return effects


def next_time(round: Round, now: float) -> float | None:
    """The next moment after ``now`` at which time alone makes something due; None if only an event can."""
    times = list(_muster_times(round)) if round.phase is Phase.MUSTER else []
    for cohort in round.cohorts.values():
        times += _cohort_times(cohort)
    return min((time for time in times if time > now), default=None)


def _in_muster(round: Round, now: float) -> Iterator[Effect]:
    needed = round.must_last_until(now)
    if min(round.promised.values(), default=needed) < needed:
        for identity, not_after in round.promised.items():
            if not_after < needed:
                yield Propose(event=Withdrawn(identity=identity, reason=EXPIRED))
    target, count, until = round.opened.rules.cohort_target, len(round.musters), round.muster_until
    if (target and count >= target) or (until is not None and now >= until):
        yield FormCohorts(musters=count)


def _in_cohort(cohort: Cohort, now: float) -> Iterator[Effect]:
    aggregator, members = cohort.aggregator, cohort.session.parameters.members
    match cohort.phase:
        case Phase.CONTRIBUTE:
            if len(aggregator.receipts) == members or now >= cohort.contribute_until:
                yield Propose(event=ContributeClosed(cohort=cohort.id))
        case Phase.PREPARE:
            last = len(aggregator.reports) == members or now >= cohort.prepare_until
            if last or (len(aggregator.reports) >= cohort.threshold and _reports_are_in(cohort, now)):
                yield ChooseSurvivors(cohort=cohort.id, reports=len(aggregator.reports), last=last)
        case Phase.VOTE:
            if now >= cohort.not_after:
                yield _failed(cohort, f"{len(aggregator.votes)} of {cohort.threshold} votes came")
        case Phase.ANSWER:
            over, count = now >= cohort.not_after, len(aggregator.answers)
            if count >= cohort.threshold:
                yield OpenSum(cohort=cohort.id, answers=count, last=over or count == members)
            elif over:
                yield _failed(cohort, f"{count} of {cohort.threshold} answers came")
        case Phase.GIVEN_UP:
            if aggregator.certificate() is not None:
                yield Propose(event=CohortEnded(cohort=cohort.id, outcome="abandoned", reason=cohort.given_up))
            elif now >= cohort.not_after:
                yield _failed(cohort, cohort.given_up)


def _reports_are_in(cohort: Cohort, now: float) -> bool:
    reports, receipts = cohort.aggregator.reports, cohort.aggregator.receipts
    return _grace_end(cohort) <= now or receipts.keys() <= reports.keys()


def _grace_end(cohort: Cohort) -> float:
    since = cohort.reports_suffice_at
    return cohort.prepare_until if since is None else since + cohort.answer_grace


def _failed(cohort: Cohort, reason: str) -> Propose:
    return Propose(event=CohortEnded(cohort=cohort.id, outcome="failed", reason=reason))


def _end_of(round: Round) -> Effect:
    opened = tuple(c.id for c in round.cohorts.values() if c.phase is Phase.OPENED)
    if opened:
        return TakeStep(cohorts=opened)
    failed = [c.ended.reason for c in round.cohorts.values() if c.ended and c.ended.outcome == "failed"]
    reasons = failed or [c.given_up for c in round.cohorts.values()]
    return Propose(event=end_without(round, "failed" if failed else "abandoned", reasons[0]))


def end_without(round: Round, outcome: Outcome, reason: str) -> RoundEnded:
    """The end of a round that leaves the adapter as it was."""
    opened = round.opened
    return RoundEnded(
        outcome=outcome,
        reason=reason,
        adapter=opened.adapter,
        adapter_size=opened.adapter_size,
        version=opened.version,
        clip=opened.clip,
    )


def forsake(round: Round, reason: str) -> list[AnyEvent]:
    """The events that end everything of a round whose server has been put back to an earlier moment: what it said after
    that is forgotten, and nothing may be said twice. Updates that were sent stay spent."""
    events: list[AnyEvent] = [
        CohortEnded(cohort=cohort.id, outcome="failed", reason=reason)
        for cohort in round.cohorts.values()
        if cohort.phase not in FINAL
    ]
    if round.phase is not Phase.OVER:
        events.append(end_without(round, "failed" if round.cohorts else "abandoned", reason))
    return events


def give_up(round: Round, effect: Effect, reason: str) -> AnyEvent | None:
    """The event that ends what ``effect`` was for, where it cannot be done; None while more reports or answers may
    still make it another, and for what time alone decides.

    A cohort that has no list of survivors is offered the empty one: its members' votes give their updates back. One
    with a certified list fails: its updates stay spent, nothing more is asked of its members.
    """
    match effect:
        case FormCohorts() | TakeStep():
            return end_without(round, "failed", reason)
        case ChooseSurvivors(last=True):
            return SurvivorsOffered(cohort=effect.cohort, survivors=b"", reason=reason)
        case OpenSum(last=True):
            return CohortEnded(cohort=effect.cohort, outcome="failed", reason=reason)
    return None


def _muster_times(round: Round) -> Iterator[float]:
    rules = round.opened.rules
    if round.muster_until is not None:
        yield round.muster_until
    if round.promised:
        # one second later: not_after is still good at its own moment
        yield min(round.promised.values()) - rules.contribute_window - rules.answer_window + 1


def _cohort_times(cohort: Cohort) -> list[float]:
    match cohort.phase:
        case Phase.CONTRIBUTE:
            return [cohort.contribute_until]
        case Phase.PREPARE:
            return [_grace_end(cohort), cohort.prepare_until]
        case Phase.VOTE | Phase.ANSWER | Phase.GIVEN_UP:
            return [cohort.not_after]
    return []
