"""The turning points of a round in words, for the operator's log. Devices are counted, never named."""

from fedit_shared.secagg.bodies import decode_survivors

from .events import (
    CohortEnded,
    CohortsFormed,
    ContributeClosed,
    Event,
    RoundEnded,
    RoundOpened,
    SumOpened,
    SurvivorsOffered,
)


def describe(event: Event) -> str | None:
    """What happened; None for what happens once for each device."""
    match event:
        case RoundOpened():
            return f"opened on adapter version {event.version}, sums of {event.rules.slot_bits} bits"
        case CohortsFormed():
            formed, left_out = _count(len(event.cohorts), "cohort"), _count(len(event.left_out), "device")
            return f"the muster is over: {formed}, {left_out} left out"
        case ContributeClosed():
            return f"cohort {_name(event.cohort)}: no more uploads"
        case SurvivorsOffered() if event.survivors:
            count = len(decode_survivors(event.survivors))
            return f"cohort {_name(event.cohort)}: {count} survivors, voting"
        case SurvivorsOffered():
            return f"cohort {_name(event.cohort)} is given up: {event.reason}"
        case SumOpened():
            return f"cohort {_name(event.cohort)}: sum opened, weight {event.total_weight}, loss {event.loss:.4f}"
        case CohortEnded():
            return f"cohort {_name(event.cohort)} {event.outcome}: {event.reason}"
        case RoundEnded() if event.outcome == "published":
            share = (event.quantization_error or 0.0) / (event.mean_norm or 1.0)
            moved = f"moved by {event.update_norm or 0.0:.4g}, quantization error {share:.2%} of the mean update"
            return f"published: adapter version {event.version}, {moved}"
        case RoundEnded():
            return f"{event.outcome}: {event.reason}"
    return None


def _count(number: int, one: str) -> str:
    return f"{number} {one}{'' if number == 1 else 's'}"


def _name(cohort: bytes) -> str:
    return cohort.hex()[:8]
