"""Why a device is dropped: in words for people, and as one of few causes for programs and metrics."""

from typing import Literal

Cause = Literal[
    "not_finished",
    "expired",
    "left",
    "blocked",
    "late",
    "full",
    "floor",
    "no_upload",
    "unusable",
    "silent",
    "no_vote",
    "no_answer",
    "other",
]

NOT_FINISHED = "it had not finished its training when the muster closed"
EXPIRED = "the muster took longer than it had promised to be there"
LEFT = "it left the federation"
BLOCKED = "the operator blocked it"
LATE = "it mustered just after the cohorts were formed"
FULL = "the cohorts were full"
NO_UPLOAD = "its upload was not complete in time"
UNUSABLE = "its shares could not be used"
SILENT = "not heard of since its upload"
NO_VOTE = "it did not vote on the list of survivors"
NO_ANSWER = "it did not answer"
_FLOOR = "it demands "

_CAUSES: dict[str, Cause] = {
    NOT_FINISHED: "not_finished",
    EXPIRED: "expired",
    LEFT: "left",
    BLOCKED: "blocked",
    LATE: "late",
    FULL: "full",
    NO_UPLOAD: "no_upload",
    UNUSABLE: "unusable",
    SILENT: "silent",
    NO_VOTE: "no_vote",
    NO_ANSWER: "no_answer",
}


def below_floor(demanded: int, members: int) -> str:
    """A device demands more survivors than its cohort had members."""
    return f"{_FLOOR}{demanded} survivors, its cohort had {members} members"


def cause_of(reason: str) -> Cause:
    """The cause that these words stand for; ``other`` for those of another release."""
    return "floor" if reason.startswith(_FLOOR) else _CAUSES.get(reason, "other")
