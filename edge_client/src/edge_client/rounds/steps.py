"""The client's side of a round as one table: what is on disk says what to do next.

A device goes through five steps: it musters, contributes, reports, votes, answers. Before each but the first it asks
the server for what the step needs, and keeps it; what it then sends is on disk before its first byte leaves. So a
restart at any point does the same again, byte for byte, and nothing here needs to remember anything.
"""

from dataclasses import dataclass
from enum import Enum

from fedit_shared.errors import ConflictError
from fedit_shared.messages import Certificate, Closed, Prepare, Result, Roster, ServerMessage, Survivors, Wait
from fedit_shared.messages.client import Step

STEPS: tuple[Step, ...] = ("mustered", "contributed", "reported", "voted", "answered")

LATE_SECONDS = 120
"""So long after the end of the upload's window a vector is still tried: the clocks may differ."""


@dataclass(frozen=True)
class Held:
    """What of a round is on this machine's disk."""

    past: Step | None = None
    """The last step that is behind this device: the server has acknowledged it, or it cannot be done any more."""
    roster: bool = False
    sealed: bool = False
    """The masked vector, the packets and the receipt."""
    prepare: bool = False
    vote: bool = False
    answer: bool = False
    ended: bool = False


class Action(Enum):
    """What to do next. ASK: poll for what comes after the last step."""

    MUSTER = "send the muster"
    CONTRIBUTE = "mask and seal the update"
    UPLOAD = "send the vector, then the deal"
    SKIP_UPLOAD = "too late to contribute: go on as a member"
    REPORT = "check the packets and report"
    SEND_VOTE = "send the vote that was cast"
    SEND_ANSWER = "send the answer that was given"
    ASK = "ask the server"
    NOTHING = "over"


def next_action(held: Held, *, now: int, contribute_until: int) -> Action:
    """What a device that holds ``held`` does at Unix time ``now``; ``contribute_until`` as in the roster, 0 before."""
    if held.ended:
        return Action.NOTHING
    match held.past:
        case None:
            return Action.MUSTER
        case "mustered" if held.sealed:
            return Action.UPLOAD
        case "mustered" if held.roster:
            return Action.CONTRIBUTE if now <= contribute_until + LATE_SECONDS else Action.SKIP_UPLOAD
        case "contributed" if held.prepare:
            return Action.REPORT
        case "reported" if held.vote:
            return Action.SEND_VOTE
        case "voted" if held.answer:
            return Action.SEND_ANSWER
    return Action.ASK


_EXPECTED: dict[Step, tuple[type[ServerMessage], ...]] = {
    "mustered": (Roster,),
    "contributed": (Prepare,),
    "reported": (Survivors, Certificate),
    "voted": (Certificate,),
    "answered": (),
}
_ALWAYS: tuple[type[ServerMessage], ...] = (Wait, Closed, Result)


def require_expected(after: Step, reply: ServerMessage) -> None:
    """Raise ConflictError unless ``reply`` may follow a question for what comes after this step."""
    if not isinstance(reply, (*_EXPECTED[after], *_ALWAYS)):
        raise ConflictError(
            f"The server sent a {type(reply).__name__} to a device that has {after}.",
            advice="Client and server may be of different releases: upgrade the older one.",
        )
