"""Who was not there to the end of a round: each device once, for the first thing that it did not do."""

import msgspec

from .causes import NO_ANSWER, NO_UPLOAD, NO_VOTE, NOT_FINISHED, SILENT, UNUSABLE, Cause, cause_of
from .state import Cohort, Round


class Drop(msgspec.Struct, frozen=True, kw_only=True):
    """A device that was not there to the end. Whether its update counts all the same, its cohort says."""

    device: str
    phase: str
    """``train``, ``muster``, ``contribute``, ``prepare``, ``vote`` or ``answer``."""
    reason: str
    cause: Cause = "other"
    """What the reason's words stand for."""


Found = list[tuple[bytes, str, str]]
"""Identity, phase, reason."""


def drops(round: Round) -> list[Drop]:
    """As the round stands, by device."""
    found: Found = [(d, "muster", reason) for d, reason in (round.withdrawn | round.left_out).items()]
    if round.cohorts:
        gone = round.offered - round.musters.keys() - round.withdrawn.keys()
        found += [(d, "train", NOT_FINISHED) for d in gone]
    for cohort in round.cohorts.values():
        if cohort.closed_at is not None:
            found += _of_cohort(cohort)
    return [Drop(device=d.hex(), phase=p, reason=r, cause=cause_of(r)) for d, p, r in sorted(found)]


def _of_cohort(cohort: Cohort) -> Found:
    members, dealt = set(cohort.session.identities), cohort.aggregator.receipts.keys()
    found: Found = [(d, "contribute", NO_UPLOAD) for d in members - dealt]
    survivors, aggregator = set(cohort.survivors), cohort.aggregator
    if not survivors:
        without_reports = cohort.given_up and aggregator.enough_deals()
        return found + [(d, "prepare", SILENT) for d in dealt - aggregator.reports.keys() if without_reports]
    found += [(d, "prepare", UNUSABLE) for d in dealt - survivors]
    silent = survivors - aggregator.reports.keys() - aggregator.votes.keys() - aggregator.answers.keys()
    found += [(d, "answer", SILENT) for d in silent]
    if cohort.waited_in_vain:
        voting = aggregator.certificate() is None
        phase, reason = ("vote", NO_VOTE) if voting else ("answer", NO_ANSWER)
        said = aggregator.votes.keys() if voting else aggregator.answers.keys()
        found += [(d, phase, reason) for d in survivors - silent - said]
    return found
