"""The list of rounds, and one round's own page."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agg_server.rounds.events import Event
from agg_server.rounds.report import RoundReport, weighted_mean
from agg_server.rounds.words import describe
from agg_server.store import Recorded
from agg_server.store.journal import Span

from .glance import uploaded
from .timeline import Bar, bars
from .words import CAUSES, COHORT_PHASES, ROUND_PHASES, Status, cohort_status, round_status


class RoundLine(NamedTuple):
    """One round in the list."""

    number: int
    status: Status
    reason: str
    opened: float
    seconds: float
    version: int | None
    members: int
    summed: int | None
    dropped: int
    uploaded: int
    loss: float | None
    update_norm: float | None
    relative_error: float | None


def line(report: RoundReport) -> RoundLine:
    """From the round's report."""
    return RoundLine(
        number=report.round,
        status=round_status(report),
        reason=report.reason,
        opened=report.opened,
        seconds=report.seconds,
        version=report.version,
        members=sum(len(cohort.roster) for cohort in report.cohorts),
        summed=report.summed,
        dropped=len(report.dropped),
        uploaded=uploaded(report),
        loss=weighted_mean(report.cohorts, "loss"),
        update_norm=report.update_norm,
        relative_error=report.relative_error,
    )


class Happening(NamedTuple):
    """Something in the timeline; ``last``: when it happened last, where it happened several times."""

    time: float
    last: float | None
    what: str


class CohortPart(NamedTuple):
    """One cohort. Devices are public keys in hex. ``listed``: on the list that was voted on; ``summed``: in the opened
    sum."""

    id: str
    status: Status
    explained: str
    members: list[str]
    uploads: int
    summed: int
    listed: int
    answers: int
    suspects: list[str]
    total_weight: int
    loss: float | None
    clipped: float | None


class DroppedDevice(NamedTuple):
    """A device that was not there to the end."""

    device: str
    phase: str
    reason: str
    counted: bool


class RoundPage(NamedTuple):
    """All of one round. ``pruned``: its events are gone, and with them its timeline."""

    line: RoundLine
    explained: str
    offered: int
    mustered: int
    clipped: float | None
    adapter_before: str
    adapter_after: str | None
    bars: list[Bar]
    happenings: list[Happening]
    cohorts: list[CohortPart]
    dropped: list[DroppedDevice]
    pruned: bool


_COUNTED = {
    "Offered": "got the task",
    "Mustered": "finished training and mustered",
    "Withdrawn": "withdrew",
    "Dealt": "uploaded",
    "Reported": "reported",
    "Voted": "voted",
    "Answered": "answered",
}


def round_page(report: RoundReport, turning: Sequence[Recorded], spans: Mapping[str, Span]) -> RoundPage:
    """``turning``: the events that :func:`describe` has words for; ``spans``: all of the round's events."""
    counted = report.counted
    return RoundPage(
        line=line(report),
        explained=report.reason or ROUND_PHASES.get(report.phase, ""),
        offered=report.offered,
        mustered=report.mustered,
        clipped=weighted_mean(report.cohorts, "clipped"),
        adapter_before=report.adapter_before,
        adapter_after=report.adapter_after,
        bars=bars(report, turning),
        happenings=_happenings(turning, spans),
        cohorts=_cohorts(report),
        dropped=[
            DroppedDevice(drop.device, drop.phase, CAUSES[drop.cause], drop.device in counted)
            for drop in report.dropped
        ],
        pruned=not spans,
    )


def _happenings(turning: Sequence[Recorded], spans: Mapping[str, Span]) -> list[Happening]:
    found = [Happening(r.time, None, words) for r in turning if (words := _words(r.event)) is not None]
    for kind, what in _COUNTED.items():
        if (span := spans.get(kind)) is not None:
            devices = "1 device" if span.number == 1 else f"{span.number} devices"
            found.append(
                Happening(span.first, span.last if int(span.last) > int(span.first) else None, f"{devices} {what}")
            )
    return sorted(found, key=lambda happening: happening.time)


def _words(event: Event) -> str | None:
    words = describe(event)
    return None if words is None else words[0].upper() + words[1:]


def _cohorts(report: RoundReport) -> list[CohortPart]:
    return [
        CohortPart(
            id=cohort.cohort,
            status=cohort_status(cohort),
            explained=cohort.reason or COHORT_PHASES.get(cohort.phase, ""),
            members=cohort.roster,
            uploads=len(cohort.dealt),
            summed=len(cohort.summed),
            listed=len(cohort.survivors),
            answers=len(cohort.answered),
            suspects=cohort.suspects,
            total_weight=cohort.total_weight,
            loss=cohort.loss,
            clipped=cohort.clipped,
        )
        for cohort in report.cohorts
    ]
