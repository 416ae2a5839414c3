"""The client's side of a round: which step comes next, and what is checked before it. No I/O, no clock."""

from .checks import (
    TaskChangedError,
    UnagreedError,
    Verdict,
    check_offer,
    check_result,
    check_roster,
    make_muster,
    require_agreed,
    require_floor,
)
from .steps import STEPS, Action, Held, next_action, require_expected

__all__ = [
    "STEPS",
    "Action",
    "Held",
    "TaskChangedError",
    "UnagreedError",
    "Verdict",
    "check_offer",
    "check_result",
    "check_roster",
    "make_muster",
    "next_action",
    "require_agreed",
    "require_expected",
    "require_floor",
]
