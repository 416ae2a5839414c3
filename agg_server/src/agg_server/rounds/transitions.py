"""Every legal step of a round, in two tables: (phase, event) → what it does.

A step checks first and changes last: what raises has changed nothing. It draws nothing, reads no clock and does no
I/O, so the same events give the same state on every machine.
"""

from collections.abc import Callable
from hashlib import sha256
from typing import Any

from fedit_shared.errors import ConflictError, NotFoundError, ProtocolError

from .causes import LATE
from .events import (
    Answered,
    CohortEnded,
    CohortEvent,
    CohortsFormed,
    ContributeClosed,
    Dealt,
    Event,
    Mustered,
    Offered,
    Reported,
    RoundEnded,
    RoundOpened,
    SumOpened,
    SurvivorsOffered,
    Voted,
    Withdrawn,
)
from .state import FINAL, ROUND_NEEDS_NO_MORE, Cohort, Phase, Round, muster_of, new_cohort

STALE = "Ask for the current round with a check-in; an update of an older adapter version is of no use to it."


def open_round(event: RoundOpened, now: float) -> Round:
    """The state that a round begins with."""
    return Round(event, now)


def apply(round: Round, event: Event, now: float) -> None:
    """Record one event. Raises ConflictError if it cannot come in this phase, ProtocolError, ForgedError or
    NotFoundError if it cannot come at all."""
    if isinstance(event, CohortEvent):
        cohort = cohort_named(round, event.cohort)
        handler = COHORT_STEPS.get((cohort.phase, type(event)))
        if handler is None:
            raise _untimely(type(event).__name__, cohort.phase)
        handler(cohort, event, now)
    else:
        step = ROUND_STEPS.get((round.phase, type(event)))
        if step is None:
            raise _untimely(type(event).__name__, round.phase)
        step(round, event, now)


def repeats(round: Round, event: Event) -> bool:
    """Whether ``event`` need not be recorded: it repeats one that was, or it comes after its cohort's end, when it
    changes nothing any more. Raises ConflictError if it contradicts one that was recorded."""
    match event:
        case Offered():
            return event.identity in round.offered
        case Mustered():
            return _same(round.musters.get(event.identity), event, "muster")
        case Withdrawn():
            return event.identity in round.withdrawn and event.identity not in round.musters
        case Dealt():
            receipt = cohort_named(round, event.cohort).aggregator.receipts.get(event.identity)
            known = None if receipt is None else (receipt.body, receipt.signature)
            return _same(known, (event.body, event.signature), "deal")
        case Reported() | Voted() | Answered():
            cohort = cohort_named(round, event.cohort)
            cohort.session.index(event.identity)
            return cohort.phase in FINAL or _said_before(cohort, event)
    return False


def cohort_named(round: Round, cohort: bytes) -> Cohort:
    """The cohort of this round. Raises NotFoundError."""
    try:
        return round.cohorts[cohort]
    except KeyError:
        raise NotFoundError(f"Round {round.number} has no such cohort.", advice=STALE) from None


def _said_before(cohort: Cohort, event: Reported | Voted | Answered) -> bool:
    aggregator = cohort.aggregator
    match event:
        case Reported():
            return _same(aggregator.reports.get(event.identity), event.report, "report")
        case Voted():
            return _same(aggregator.votes.get(event.identity), (event.survivors_hash, event.signature), "vote")
        case Answered():
            return _same(aggregator.answers.get(event.identity), event.words, "answer")


def _same(known: object, sent: object, what: str) -> bool:
    if known is not None and known != sent:
        raise ConflictError(f"This device has already sent another {what}.")
    return known is not None


def _untimely(event: str, phase: Phase) -> ConflictError:
    return ConflictError(f"{event}: not in the phase {phase.value!r}.", advice=STALE)


def _offer(round: Round, event: Offered, now: float) -> None:
    round.offered.add(event.identity)


def _muster(round: Round, event: Mustered, now: float) -> None:
    muster, opened = muster_of(event), round.opened
    if (muster.round, muster.adapter, muster.task_hash) != (round.number, opened.adapter, round.task_hash):
        raise ConflictError(f"This muster is for another round than {round.number}.", advice=STALE)
    if muster.federation != opened.federation or muster.round_key_hash != sha256(event.round_key).digest():
        raise ProtocolError("A muster is not of this federation, or not of its round key.")
    if muster.not_after < round.must_last_until(now):
        raise ConflictError("This muster ends too early: the round may still need answers then.", advice=STALE)
    if event.identity not in round.offered:
        raise ConflictError(f"Round {round.number} was not offered to this device.", advice=STALE)
    round.musters[event.identity] = event
    round.promised[event.identity] = muster.not_after
    round.withdrawn.pop(event.identity, None)
    if round.musters_suffice_at is None and len(round.musters) >= opened.rules.cohort_min:
        round.musters_suffice_at = now


def _withdraw(round: Round, event: Withdrawn, now: float) -> None:
    round.musters.pop(event.identity, None)
    round.promised.pop(event.identity, None)
    round.withdrawn[event.identity] = event.reason
    if len(round.musters) < round.opened.rules.cohort_min:
        round.musters_suffice_at = None


def _form(round: Round, event: CohortsFormed, now: float) -> None:
    cohorts = {formed.cohort: new_cohort(round, formed, now) for formed in event.cohorts}
    round.cohorts = cohorts
    round.members = {identity: c for c in cohorts.values() for identity in c.session.identities}
    late = round.musters.keys() - round.members.keys() - event.left_out.keys()
    round.left_out = event.left_out | dict.fromkeys(late, LATE)
    round.phase = Phase.COHORTS


def _end_round(round: Round, event: RoundEnded, now: float) -> None:
    busy = [cohort for cohort in round.cohorts.values() if cohort.phase not in ROUND_NEEDS_NO_MORE]
    if busy:
        raise ConflictError(f"{len(busy)} cohorts of round {round.number} are still at work.")
    round.ended, round.ended_at = event, now
    round.phase = Phase.OVER


def _deal(cohort: Cohort, event: Dealt, now: float) -> None:
    cohort.aggregator.add_deal(event.identity, event.body, event.signature)


def _close_contribute(cohort: Cohort, event: ContributeClosed, now: float) -> None:
    aggregator = cohort.aggregator
    cohort.closed_at = now
    if aggregator.enough_deals():
        cohort.phase = Phase.PREPARE
        return
    have, need = len(aggregator.receipts), cohort.session.floor
    aggregator.offer(b"")
    cohort.given_up = f"{have} of {cohort.session.parameters.members} uploads came, {need} were needed"
    if have >= cohort.session.parameters.floor:  # but for what some members demand it would have gone on
        demanding = {entry.identity for entry in cohort.session.roster.entries if entry.floor > have}
        cohort.suspects |= demanding
        cohort.given_up += f" by the floors of {len(demanding)} members"
    cohort.phase = Phase.GIVEN_UP


def _report(cohort: Cohort, event: Reported, now: float) -> None:
    cohort.aggregator.add_report(event.identity, event.report, event.signature)
    if cohort.reports_suffice_at is None and len(cohort.aggregator.reports) >= cohort.threshold:
        cohort.reports_suffice_at = now


def _offer_survivors(cohort: Cohort, event: SurvivorsOffered, now: float) -> None:
    cohort.aggregator.offer(event.survivors)
    cohort.suspects |= set(event.suspects)
    cohort.given_up = "" if event.survivors else event.reason
    cohort.phase = Phase.VOTE if event.survivors else Phase.GIVEN_UP


def _vote(cohort: Cohort, event: Voted, now: float) -> None:
    cohort.aggregator.add_vote(event.identity, event.survivors_hash, event.signature)
    if cohort.phase is Phase.VOTE and cohort.aggregator.certificate() is not None:
        cohort.phase = Phase.ANSWER


def _answer(cohort: Cohort, event: Answered, now: float) -> None:
    cohort.aggregator.add_answer(event.identity, event.survivors_hash, event.words, event.signature)


def _open_sum(cohort: Cohort, event: SumOpened, now: float) -> None:
    cohort.opened = event
    cohort.suspects |= set(event.suspects)
    cohort.phase = Phase.OPENED


def _end_cohort(cohort: Cohort, event: CohortEnded, now: float) -> None:
    cohort.ended, cohort.ended_at = event, now
    cohort.phase = Phase.ENDED


Step = Callable[[Any, Any, float], None]

ROUND_STEPS: dict[tuple[Phase, type[Event]], Step] = {
    (Phase.MUSTER, Offered): _offer,
    (Phase.MUSTER, Mustered): _muster,
    (Phase.MUSTER, Withdrawn): _withdraw,
    (Phase.MUSTER, CohortsFormed): _form,  # → COHORTS
    (Phase.MUSTER, RoundEnded): _end_round,  # → OVER: the operator changed what the round was opened with
    (Phase.COHORTS, RoundEnded): _end_round,  # → OVER
}

COHORT_STEPS: dict[tuple[Phase, type[Event]], Step] = {
    (Phase.CONTRIBUTE, Dealt): _deal,
    (Phase.CONTRIBUTE, ContributeClosed): _close_contribute,  # → PREPARE, or GIVEN_UP below the floor
    (Phase.CONTRIBUTE, CohortEnded): _end_cohort,  # → ENDED: the server was put back from a backup
    (Phase.PREPARE, Reported): _report,
    (Phase.PREPARE, SurvivorsOffered): _offer_survivors,  # → VOTE, or GIVEN_UP with the empty list
    (Phase.PREPARE, CohortEnded): _end_cohort,  # → ENDED: as above
    (Phase.VOTE, Reported): _report,
    (Phase.VOTE, Voted): _vote,  # → ANSWER with the r-th vote
    (Phase.VOTE, CohortEnded): _end_cohort,
    (Phase.ANSWER, Reported): _report,
    (Phase.ANSWER, Voted): _vote,
    (Phase.ANSWER, Answered): _answer,
    (Phase.ANSWER, SumOpened): _open_sum,  # → OPENED
    (Phase.ANSWER, CohortEnded): _end_cohort,
    (Phase.GIVEN_UP, Reported): _report,
    (Phase.GIVEN_UP, Voted): _vote,
    (Phase.GIVEN_UP, CohortEnded): _end_cohort,  # → ENDED
}
