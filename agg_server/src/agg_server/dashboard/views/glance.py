"""The federation at a glance: what is going on, and how it went so far."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from agg_server.dashboard.charts import Chart, Point, chart, has_dots
from agg_server.dashboard.moment import STEPS, Moment
from agg_server.rounds.report import RoundReport, weighted_mean
from agg_server.standing import Standing
from agg_server.store import Census

from .awaited import Awaited, awaited
from .words import CAUSES, COHORT_PHASES, ROUND_PHASES, Status, round_status, status

SHOWN_ROUNDS = 100
"""So many of the newest rounds are drawn."""
_SHOWN_DEVICES = 200


class CohortLine(NamedTuple):
    """One cohort of the round that is under way."""

    id: str
    status: Status
    explained: str
    members: int
    uploads: int
    summed: int | None
    answers: int


class StepGroup(NamedTuple):
    """The devices whose last step this was; ``shown``: the first of them, by key."""

    step: str
    number: int
    shown: list[str]


class Now(NamedTuple):
    """What is going on. ``status`` is None before the first round. ``since``: when its phase began. ``finished``: what
    is said once no round will be opened any more."""

    number: int | None
    status: Status | None
    explained: str
    since: float | None
    awaited: list[Awaited]
    here: int
    steps: list[StepGroup]
    cohorts: list[CohortLine]
    finished: str = ""


def now(moment: Moment, finished: str = "") -> Now:
    """From the ledger's moment. ``finished``: as in :class:`Now`."""
    current = moment.current
    if current is None:
        return Now(None, None, "No round has been opened yet", None, awaited(moment), 0, [], [])
    report = current.report
    explained = ROUND_PHASES[report.phase]
    return Now(
        number=report.round,
        status=round_status(report),
        explained=f"{explained} ({report.reason})" if report.reason else explained,
        since=current.since,
        awaited=awaited(moment, finished=bool(finished)),
        here=len(current.devices),
        steps=_steps(current.devices),
        cohorts=[
            CohortLine(
                id=cohort.id,
                status=status(told.outcome or told.phase),
                explained=told.reason or COHORT_PHASES[told.phase],
                members=cohort.members,
                uploads=cohort.uploads,
                summed=len(told.summed) or None,
                answers=cohort.answers,
            )
            for cohort, told in zip(current.cohorts, report.cohorts, strict=True)
        ],
        finished=finished,
    )


def _steps(devices: Mapping[str, str]) -> list[StepGroup]:
    found = []
    for step in STEPS:
        those = sorted(device for device, last in devices.items() if last == step)
        if those:
            found.append(StepGroup(step, len(those), those[:_SHOWN_DEVICES]))
    return found


class Facts(NamedTuple):
    """Numbers beside the rounds."""

    version: int
    next_from: int
    finished: str
    devices: int
    blocked: int
    seen: int


def facts(standing: Standing, census: Census, finish: str) -> Facts:
    """``finish``: what is said once the federation has finished."""
    return Facts(
        version=standing.newest.version,
        next_from=standing.current.version,
        finished=finish if standing.finished else "",
        devices=census.statuses.get("active", 0),
        blocked=census.statuses.get("blocked", 0),
        seen=census.seen,
    )


class Figure(NamedTuple):
    """A chart and its numbers. ``form``: the filter that writes a value: number or size."""

    title: str
    explained: str
    chart: Chart | None
    dots: bool
    bars: bool
    form: str
    points: list[Point]


class DropLine(NamedTuple):
    """So many devices were dropped in this phase, for this reason."""

    phase: str
    reason: str
    devices: int


class History(NamedTuple):
    """How it went. ``rounds``: so many are looked at."""

    rounds: int
    outcomes: list[tuple[Status, int]]
    figures: list[Figure]
    drops: list[DropLine]
    uploaded: int


def history(reports: Sequence[RoundReport]) -> History:
    """Of these rounds, oldest first. Those that published nothing have no loss and no norm."""
    outcomes = Counter(report.outcome for report in reports if report.outcome)
    drops = Counter((drop.phase, drop.cause) for report in reports for drop in report.dropped)
    over = [report for report in reports if report.outcome]
    loss = [Point(report.round, weighted_mean(report.cohorts, "loss")) for report in over]
    norm = [Point(report.round, report.update_norm) for report in over]
    sent = [Point(report.round, float(uploaded(report))) for report in over]
    return History(
        rounds=len(reports),
        outcomes=[(status(outcome), outcomes[outcome]) for outcome in ("published", "abandoned", "failed")],
        figures=[
            _figure("Loss", "Mean of the devices in the sum, by weight.", loss),
            _figure("Update norm", "How far the adapter moved (L2 norm).", norm),
            _figure("Uploaded", "Bytes of masked updates.", sent, bars=True),
        ],
        drops=[DropLine(phase, CAUSES[cause], count) for (phase, cause), count in sorted(drops.items())],
        uploaded=sum(uploaded(report) for report in reports),
    )


def _figure(title: str, explained: str, points: list[Point], *, bars: bool = False) -> Figure:
    drawn = chart(points, from_zero=bars)
    dots = drawn is not None and has_dots(drawn)
    return Figure(title, explained, drawn, dots, bars, "size" if bars else "number", points)


def uploaded(report: RoundReport) -> int:
    """Bytes of the round's finished uploads."""
    return sum(len(cohort.dealt) * cohort.upload_bytes for cohort in report.cohorts)
