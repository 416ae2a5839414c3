"""What the newest round waits for, and until when."""

from collections.abc import Iterator
from typing import NamedTuple

from agg_server.dashboard.moment import CohortNow, Moment, RoundNow
from agg_server.durations import in_words
from agg_server.rounds.state import Phase


class Awaited(NamedTuple):
    """``what``, in words; ``until``: Unix seconds, when it goes on without; None: only what is awaited brings it on."""

    what: str
    until: float | None


def awaited(now: Moment, *, finished: bool = False) -> list[Awaited]:
    """Everything that is awaited, the whole round's first; nothing once the federation has ``finished``."""
    current = now.current
    if current is None:
        return [Awaited("the first round to open", None)]
    match current.report.phase:
        case "muster":
            return [_muster(current, now.time)]
        case "cohorts":
            return list(_cohorts(current))
    return [] if finished else [Awaited("the next round to open", None)]


def _muster(round: RoundNow, time: float) -> Awaited:
    rules, here, ends = round.rules, round.report.mustered, round.muster_until
    target, least = rules.cohort_target, rules.cohort_min
    if ends is None:
        rest = f"the others then have {in_words(rules.muster_window)}"
        if here == 0:
            task = f"{_count(round.report.offered, 'device has', 'devices have')} the task"
            return Awaited(f"{least} devices that finish their training ({task}); {rest}", None)
        return Awaited(f"{_more(here, least)}, {here} of the least {least} are here; {rest}", None)
    until = ends if time < ends else None
    if target and here < target:
        return Awaited(f"{_more(here, target)}, {here} of {target} are here", until)
    return Awaited(f"other devices that may finish in time; {here} are here, {least} suffice", until)


def _cohorts(round: RoundNow) -> Iterator[Awaited]:
    waiting = [cohort for cohort in round.cohorts if cohort.phase not in (Phase.OPENED, Phase.ENDED)]
    for cohort in waiting:
        yield Awaited(f"cohort {cohort.id[:8]}: {_of(cohort)}", cohort.until)
    if not waiting:
        yield Awaited("the server itself: it takes the step and publishes", None)


def _of(cohort: CohortNow) -> str:
    match cohort.phase:
        case Phase.CONTRIBUTE:
            return f"uploads, {cohort.uploads} of {cohort.members} are here ({cohort.floor} are needed)"
        case Phase.PREPARE:
            return f"reports, {cohort.reports} of {cohort.members} are here ({cohort.threshold} suffice)"
        case Phase.VOTE:
            return f"votes, {cohort.votes} of {cohort.threshold} are here"
        case Phase.ANSWER:
            return f"answers, {cohort.answers} of {cohort.threshold} are here"
    return f"votes that no update is used, {cohort.votes} of {cohort.threshold} are here"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _more(here: int, wanted: int) -> str:
    return _count(wanted - here, "more device that finishes its training", "more devices that finish their training")
