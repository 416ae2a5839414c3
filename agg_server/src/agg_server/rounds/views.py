"""What a device is told, read from the state alone. Nothing here changes anything."""

from hashlib import sha256
from typing import NamedTuple

from fedit_shared.errors import NotFoundError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import Certificate, Closed, Offer, Result, Roster, Survivors, Wait
from fedit_shared.secagg.bodies import OUTCOMES, OfferBody, Outcome, ResultBody

from .events import RoundEnded
from .state import Cohort, Phase, Round
from .transitions import STALE, cohort_named

POLL_SECONDS = 2.0
"""How soon to ask again when something of this round is awaited."""
IDLE_SECONDS = 20.0
"""How soon to ask again when the next round is."""


class PacketsFor(NamedTuple):
    """The answer is Prepare; its packets are on disk. ``member``: the device's 0-based place in the roster."""

    cohort: Cohort
    member: int


class ResultOf(NamedTuple):
    """The answer is this cohort's Result, to be signed."""

    cohort: Cohort


PollView = Wait | Closed | Roster | Survivors | Certificate | PacketsFor | ResultOf


def check_in(round: Round, identity: bytes, drawn: bool) -> Wait | None:
    """Why this device has to wait; None if it is to be offered the round."""
    if round.phase is not Phase.MUSTER:
        until = max((c.not_after for c in round.cohorts.values()), default=None)
        return Wait(
            reason=f"Round {round.number} is under way; the next one opens when it ends.",
            seconds=IDLE_SECONDS,
            until=None if until is None else int(until),
        )
    if identity in round.musters:
        return Wait(reason=f"You have mustered for round {round.number}.", seconds=POLL_SECONDS)
    if not drawn and identity not in round.offered:
        return Wait(reason=f"Round {round.number} takes a part of all devices; yours was not drawn.", seconds=300.0)
    return None


def make_offer(round: Round, identity: bytes, now: float, key: SigningKey) -> Offer:
    """The task for this device, from now."""
    opened, rules = round.opened, round.opened.rules
    train_until = int(now + rules.train_window)
    not_after = int(train_until + rules.muster_window + rules.contribute_window + rules.answer_window) + 1
    body = OfferBody(opened.federation, identity, round.task_hash, round.number, opened.adapter, train_until, not_after)
    return Offer(
        task=opened.task,
        round=round.number,
        adapter=opened.adapter,
        adapter_size=opened.adapter_size,
        train_until=train_until,
        not_after=not_after,
        signature=key.sign("checkin", body.encode()),
    )


def after_muster(round: Round, identity: bytes, now: float) -> PollView:
    """The answer to a poll after ``mustered``."""
    cohort = round.members.get(identity)
    if cohort is not None:
        return ResultOf(cohort) if has_result(round, cohort) else _roster(cohort)
    for reasons in (round.left_out, round.withdrawn):
        if identity in reasons:
            return Closed(reason=f"Round {round.number} goes on without this device: {reasons[identity]}.")
    if round.phase is not Phase.MUSTER or identity not in round.musters:
        return Closed(reason=f"This device has not mustered for round {round.number}.")
    rules, until = round.opened.rules, round.muster_until
    return Wait(
        reason="Waiting for the others to finish their training.",
        seconds=POLL_SECONDS,
        present=len(round.musters),
        expected=rules.cohort_target or max(rules.cohort_min, len(round.offered)),
        until=None if until is None or until <= now else int(until) + 1,
    )


def in_cohort(round: Round, cohort_id: bytes, identity: bytes, after: str) -> PollView:
    """The answer to a poll after ``contributed`` and later steps. Members who did not deal may help as well."""
    cohort = cohort_named(round, cohort_id)
    if identity not in cohort.session.identities:
        raise NotFoundError("This device is not of this cohort.", advice=STALE)
    if has_result(round, cohort):
        return ResultOf(cohort)
    return _AFTER[after](cohort, identity)


def has_result(round: Round, cohort: Cohort) -> bool:
    """Whether it is known how the cohort ended."""
    return cohort.ended is not None or (cohort.opened is not None and round.ended is not None)


def make_result(round: Round, cohort: Cohort, key: SigningKey) -> Result:
    """How the cohort ended, signed."""
    ended = round.ended if cohort.opened is not None else cohort.ended
    outcome: Outcome = "failed" if ended is None else ended.outcome
    adapter = ended.adapter if isinstance(ended, RoundEnded) else round.opened.adapter
    survivors = cohort.aggregator.survivors or b""
    weight = cohort.opened.total_weight if cohort.opened else 0
    body = ResultBody(
        cohort.session.sid, round.number, OUTCOMES.index(outcome), sha256(survivors).digest(), adapter, weight
    )
    return Result(
        cohort=cohort.id,
        round=round.number,
        outcome=outcome,
        survivors=survivors,
        certificate=cohort.aggregator.certificate() or b"",
        adapter=adapter,
        total_weight=weight,
        mean_loss=cohort.opened.loss if cohort.opened else None,
        signature=key.sign("result", body.encode()),
    )


def _roster(cohort: Cohort) -> Roster:
    formed = cohort.formed
    return Roster(
        cohort=formed.cohort,
        body=formed.roster,
        settings=formed.settings,
        signature=formed.signature,
        contribute_until=int(cohort.contribute_until),
    )


def _after_contributed(cohort: Cohort, identity: bytes) -> PollView:
    if cohort.phase is Phase.CONTRIBUTE:
        return _wait(
            cohort,
            "Waiting for the others' uploads.",
            len(cohort.aggregator.receipts),
            cohort.session.parameters.members,
            cohort.contribute_until,
        )
    return PacketsFor(cohort, cohort.session.index(identity) - 1)


def _after_reported(cohort: Cohort, identity: bytes) -> PollView:
    survivors = cohort.aggregator.survivors
    if survivors is None:
        return _wait(
            cohort,
            "Waiting for the others to look at their shares.",
            len(cohort.aggregator.reports),
            len(cohort.aggregator.receipts),
            cohort.prepare_until,
        )
    return Survivors(survivors=survivors)


def _after_voted(cohort: Cohort, identity: bytes) -> PollView:
    certificate = cohort.aggregator.certificate()
    if certificate is None or cohort.phase is Phase.GIVEN_UP:
        votes = len(cohort.aggregator.votes)
        return _wait(cohort, "Waiting for the others' votes.", votes, cohort.threshold, cohort.not_after)
    return Certificate(survivors=cohort.aggregator.survivors or b"", certificate=certificate)


def _after_answered(cohort: Cohort, identity: bytes) -> PollView:
    answers = len(cohort.aggregator.answers)
    return _wait(cohort, "Waiting for the others' answers.", answers, cohort.threshold, cohort.not_after)


_AFTER = {
    "contributed": _after_contributed,
    "reported": _after_reported,
    "voted": _after_voted,
    "answered": _after_answered,
}


def _wait(cohort: Cohort, reason: str, present: int, expected: int, until: float) -> Wait:
    return Wait(reason=reason, seconds=POLL_SECONDS, present=present, expected=expected, until=int(until))
