"""Words and marks for where a round, a cohort or a device stands. A mark says the same as the word: no colour does so
alone."""

from typing import NamedTuple

from agg_server.rounds.report import CohortReport, RoundReport


class Status(NamedTuple):
    """``kind``: good, bad, quiet or busy; ``mark``: its shape."""

    word: str
    kind: str
    mark: str


_KINDS = {
    "published": ("good", "✓"),
    "opened": ("good", "✓"),
    "active": ("good", "●"),
    "open": ("good", "●"),
    "failed": ("bad", "✕"),
    "blocked": ("bad", "✕"),
    "expired": ("quiet", "–"),
    "used up": ("quiet", "–"),
    "revoked": ("bad", "✕"),
    "abandoned": ("quiet", "–"),
    "left": ("quiet", "–"),
}

ROUND_PHASES = {
    "muster": "Devices train and come back",
    "cohorts": "Cohorts are at work",
    "over": "It is over",
}

COHORT_PHASES = {
    "contribute": "masked updates come in",
    "prepare": "members report which packets they can use",
    "vote": "members vote on who is in the sum",
    "answer": "members answer with their sums of key shares",
    "opened": "its sum is known",
    "given up": "given up: members are told that their updates are not used",
    "ended": "it ended without a sum",
}

CAUSES = {
    "not_finished": "had not finished training",
    "expired": "the muster took longer than it had promised to wait",
    "left": "left the federation",
    "blocked": "was blocked",
    "late": "mustered too late",
    "full": "the cohorts were full",
    "floor": "demanded more survivors than there were members",
    "no_upload": "did not upload in time",
    "unusable": "its shares could not be used",
    "silent": "silent after its upload",
    "no_vote": "did not vote",
    "no_answer": "did not answer",
    "other": "for another reason",
}


def status(word: str) -> Status:
    """The word with its kind and mark."""
    kind, mark = _KINDS.get(word, ("busy", "◆"))
    return Status(word, kind, mark)


def round_status(report: RoundReport) -> Status:
    """How a round ended, or where it stands."""
    return status(report.outcome or {"muster": "mustering", "cohorts": "in cohorts"}.get(report.phase, report.phase))


def cohort_status(report: CohortReport) -> Status:
    """How a cohort ended, or where it stands."""
    return status(report.outcome or report.phase)
