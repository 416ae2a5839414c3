"""The rounds as they stand at one moment, as values: read from the ledger on its own thread, looked at on others."""

from collections.abc import Mapping
from typing import NamedTuple

from agg_server.ledger import Ledger
from agg_server.rounds.events import Rules
from agg_server.rounds.report import RoundReport, report
from agg_server.rounds.state import Cohort, Phase, Round


class CohortNow(NamedTuple):
    """A live cohort: how many were there for each of its steps, and how many suffice."""

    id: str
    phase: Phase
    until: float | None
    members: int
    uploads: int
    reports: int
    votes: int
    answers: int
    threshold: int
    floor: int


class RoundNow(NamedTuple):
    """The newest round. ``since``: when it got into its phase; ``devices``: public key (hex) → the last step that it
    has taken."""

    report: RoundReport
    rules: Rules
    since: float
    muster_until: float | None
    cohorts: list[CohortNow]
    devices: Mapping[str, str]


class Moment(NamedTuple):
    """``current``: None before the first round. ``live``: rounds in which something can still happen, by number."""

    time: float
    current: RoundNow | None
    live: Mapping[int, RoundReport]


STEPS = (
    "has the task",
    "mustered",
    "left out",
    "withdrew",
    "in a cohort",
    "uploaded",
    "reported",
    "voted",
    "answered",
)
"""What a device may have done last, in this order."""


def look_at(ledger: Ledger, now: float) -> Moment:
    """How it is at ``now``. On the ledger's thread."""
    current = ledger.current
    live = {round.number: report(round, now) for round in ledger.all_live()}
    return Moment(now, None if current is None else _round(current, now), live)


def _round(round: Round, now: float) -> RoundNow:
    shown = report(round, now)
    pairs = zip(round.cohorts.values(), shown.cohorts, strict=True)
    return RoundNow(
        report=shown,
        rules=round.opened.rules,
        since=_since(round),
        muster_until=round.muster_until,
        cohorts=[_cohort(cohort, told.until) for cohort, told in pairs],
        devices={identity.hex(): step for identity, step in _steps(round).items()},
    )


def _since(round: Round) -> float:
    formed = [cohort.contribute_until - round.opened.rules.contribute_window for cohort in round.cohorts.values()]
    return round.ended_at or min(formed, default=round.opened_at)


def _cohort(cohort: Cohort, until: float | None) -> CohortNow:
    aggregator = cohort.aggregator
    return CohortNow(
        id=cohort.id.hex(),
        phase=cohort.phase,
        until=until,
        members=cohort.session.parameters.members,
        uploads=len(aggregator.receipts),
        reports=len(aggregator.reports),
        votes=len(aggregator.votes),
        answers=len(aggregator.answers),
        threshold=cohort.threshold,
        floor=cohort.session.floor,
    )


def _steps(round: Round) -> dict[bytes, str]:
    steps = dict.fromkeys(round.offered, "has the task")
    steps |= dict.fromkeys(round.musters, "mustered")
    steps |= dict.fromkeys(round.left_out, "left out")
    steps |= dict.fromkeys(round.withdrawn, "withdrew")
    for cohort in round.cohorts.values():
        aggregator = cohort.aggregator
        steps |= dict.fromkeys(cohort.session.identities, "in a cohort")
        for done, step in (
            (aggregator.receipts, "uploaded"),
            (aggregator.reports, "reported"),
            (aggregator.votes, "voted"),
            (aggregator.answers, "answered"),
        ):
            steps |= dict.fromkeys(done, step)
    return steps
