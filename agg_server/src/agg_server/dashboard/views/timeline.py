"""A round's phases as bars over time, one row for the muster and one for each cohort."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agg_server.rounds.events import (
    CohortEnded,
    CohortEvent,
    CohortsFormed,
    ContributeClosed,
    RoundEnded,
    RoundOpened,
    SumOpened,
    SurvivorsOffered,
)
from agg_server.rounds.report import RoundReport
from agg_server.store import Recorded

TURNING = (
    RoundOpened,
    CohortsFormed,
    ContributeClosed,
    SurvivorsOffered,
    SumOpened,
    CohortEnded,
    RoundEnded,
)
"""The kinds of events that are turning points."""
WIDTH = 360
_LABEL, _LEAST = 70, 1.5
_MOST_COHORTS = 12
_NEXT = {ContributeClosed: "reports", SurvivorsOffered: "votes and answers"}


class Bar(NamedTuple):
    """A phase: its row (0-based), the row's name, from where to where (of WIDTH), how long (seconds), and its number
    among the phases: 0 training, 1 uploads, 2 reports, 3 votes and answers."""

    row: int
    name: str
    phase: str
    kind: int
    x: float
    width: float
    seconds: float


PHASES = ("training", "uploads", "reports", "votes and answers")


def bars(report: RoundReport, turning: Sequence[Recorded]) -> list[Bar]:
    """The phases that have begun; what lasts ends with the report. The first twelve cohorts."""
    begun = next((r.time for r in turning if isinstance(r.event, RoundOpened)), None)
    if begun is None:
        return []
    end = max([report.opened + report.seconds, *(r.time for r in turning)])
    scale = (WIDTH - _LABEL) / max(end - begun, 1e-9)

    def bar(row: int, name: str, phase: str, since: float, until: float) -> Bar:
        x = _LABEL + (since - begun) * scale
        width = max(_LEAST, (until - since) * scale)
        return Bar(row, name, phase, PHASES.index(phase), round(x, 1), round(width, 1), until - since)

    formed = next((r.time for r in turning if isinstance(r.event, CohortsFormed)), None)
    ended = next((r.time for r in turning if isinstance(r.event, RoundEnded)), end)
    found = [bar(0, "all", "training", begun, ended if formed is None else formed)]
    if formed is None:
        return found
    for row, cohort in enumerate(report.cohorts[:_MOST_COHORTS], 1):
        for phase, since, until in _phases(bytes.fromhex(cohort.cohort), formed, end, turning):
            found.append(bar(row, cohort.cohort[:8], phase, since, until))
    return found


def _phases(
    cohort: bytes, formed: float, end: float, turning: Sequence[Recorded]
) -> Iterator[tuple[str, float, float]]:
    phase, since = "uploads", formed
    for _, time, event in turning:
        if not isinstance(event, CohortEvent) or event.cohort != cohort:
            continue
        yield phase, since, time
        following = _NEXT.get(type(event))
        if following is None:  # its sum is opened, or it has ended
            return
        phase, since = following, time
    yield phase, since, end
