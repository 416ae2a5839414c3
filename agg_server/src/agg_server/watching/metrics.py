"""What an operator's Prometheus reads. Counts and durations only: nothing of any device or update.

``docs/operating.md`` explains each in a table.
"""

import math
from collections import Counter as Tally
from typing import NamedTuple, get_args

from aiohttp import web
from aiohttp.abc import AbstractAccessLogger
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ..rounds.causes import Cause
from ..rounds.events import Event, Outcome
from ..rounds.report import RoundReport, weighted_mean
from ..store import Census
from .phases import PhaseClock

_MINUTES_TO_DAYS = (1, 5, 15, 60, 300, 900, 3600, 14400, 43200, 86400, 172800)
_DROPS: dict[str, tuple[Cause, ...]] = {
    "train": ("not_finished",),
    "muster": ("expired", "left", "blocked", "late", "full", "floor"),
    "contribute": ("no_upload",),
    "prepare": ("unusable", "silent"),
    "vote": ("no_vote",),
    "answer": ("silent", "no_answer"),
}
_JOBS = ("FormCohorts", "ChooseSurvivors", "OpenSum", "TakeStep", "Housekeeping")
_LAGS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


class Vitals(NamedTuple):
    """A moment's numbers; None for what could not be looked up."""

    queue: int
    connections: int
    disk_free: int | None
    census: Census | None
    certificate_days: float | None


class Metrics:
    """One server's metrics, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._leading = False
        self._phase_clock = PhaseClock(self._phase)
        self._make_rounds()
        self._make_traffic()
        self._make_vitals()
        self._begin_at_zero()

    def _begin_at_zero(self) -> None:
        """A counter that appears with its first count shows Prometheus no increase: an alert would miss it."""
        for outcome in get_args(Outcome):
            self._rounds.labels(outcome)
        for phase, causes in _DROPS.items():
            for cause in causes:
                self._dropped.labels(phase, cause)
        for job in _JOBS:
            self._failures.labels(job)

    def _make_rounds(self) -> None:
        self._events = self._counter("fedit_events", "Events recorded", "kind")
        self._rounds = self._counter("fedit_rounds", "Rounds ended", "outcome")
        self._mustered = self._counter("fedit_mustered", "Devices that had trained and stood in for a cohort")
        self._dropped = self._counter("fedit_dropped", "Devices dropped from rounds", "phase", "cause")
        self._seconds = self._histogram("fedit_round_seconds", "From a round's opening to its end", _MINUTES_TO_DAYS)
        self._phases = self._histogram(
            "fedit_phase_seconds", "A phase of a round or cohort that was seen whole", _MINUTES_TO_DAYS, "phase"
        )
        self._version = self._gauge("fedit_adapter_version", "The adapter version that is current")
        self._published = self._gauge("fedit_last_version_timestamp_seconds", "When the newest version was made")
        self._finished = self._gauge("fedit_finished", "1 once all of [federation] rounds are published")
        self._leads = self._gauge("fedit_leads", "1 while this process, of all replicas, does what is due")
        self._loss = self._gauge("fedit_mean_loss", "Weighted mean loss of the last published round")
        self._error = self._gauge(
            "fedit_quantization_error_ratio",
            "Expected quantization error of the last published mean update, as a fraction of its norm",
        )
        self._ranges = self._gauge(
            "fedit_clip_range_ratio", "The next round's widest clip range, as a fraction of the widest possible one"
        )
        self._failures = self._counter("fedit_job_failures", "Failed attempts at a round's work", "job")

    def _make_traffic(self) -> None:
        self._requests = self._counter("fedit_requests", "Requests answered", "route", "status")
        self._received = self._counter("fedit_received_bytes", "Bytes of request bodies", "route")
        self._sent = self._counter("fedit_sent_bytes", "Bytes of answers, headers included", "route")
        self._under_way = self._gauge("fedit_requests_under_way", "Requests not yet answered", "route")
        self._connections = self._gauge("fedit_connections", "Open connections")
        self._queue = self._gauge("fedit_writer_queue", "Events that wait for the one writer")
        self._lag = self._histogram("fedit_loop_lag_seconds", "How late the event loop woke a sleeper", _LAGS)

    def _make_vitals(self) -> None:
        self._disk = self._gauge("fedit_disk_free_bytes", "Free on the disk that holds the blobs")
        self._devices = self._gauge("fedit_devices", "Devices that ever joined", "status")
        self._seen = self._gauge("fedit_devices_seen_last_day", "Devices that checked in within 24 hours")
        self._certificate = self._gauge("fedit_certificate_days_left", "Until the certificate's file expires")

    def recorded(self, event: Event) -> None:
        """An event is on disk."""
        self._events.labels(type(event).__name__).inc()

    def stages(self, stages: dict[bytes, object], now: float) -> None:
        """Where the current round and the cohorts stand now."""
        self._phase_clock.update(stages, now)

    def stands(self, version: int, published: float, *, finished: bool) -> None:
        """The version that counts now, when the newest was made (Unix seconds), and whether the federation has
        finished."""
        self._version.set(version)
        self._published.set(published)
        self._finished.set(finished)

    def ranges(self, ratio: float | None) -> None:
        """How far the clip ranges that follow the published means have grown; None where the settings fix them."""
        self._ranges.set(math.nan if ratio is None else ratio)

    def leads(self, leads: bool) -> None:
        """Whether this replica leads now: phases, which all of them see, are told by that one."""
        self._leading = leads
        self._leads.set(leads)

    def _phase(self, phase: str, seconds: float) -> None:
        if self._leading:
            self._phases.labels(phase).observe(seconds)

    def round_ended(self, report: RoundReport) -> None:
        """A round is over."""
        self._rounds.labels(report.outcome or "").inc()
        self._seconds.observe(report.seconds)
        self._mustered.inc(report.mustered)
        for (phase, cause), count in Tally((drop.phase, drop.cause) for drop in report.dropped).items():
            self._dropped.labels(phase, cause).inc(count)

    def published(self, report: RoundReport) -> None:
        """The round that made the newest version."""
        self._error.set(report.relative_error or 0.0)
        self._loss.set(weighted_mean(report.cohorts, "loss") or 0.0)

    def job_failed(self, job: str) -> None:
        """A job of the driver raised."""
        self._failures.labels(job).inc()

    def begun(self, route: str) -> None:
        """A request is being worked on."""
        self._under_way.labels(route).inc()

    def done(self, route: str) -> None:
        """It is not any more."""
        self._under_way.labels(route).dec()

    def answered(self, route: str, status: int, received: int, sent: int) -> None:
        """An answer has gone out."""
        self._requests.labels(route, str(status)).inc()
        self._received.labels(route).inc(received)
        self._sent.labels(route).inc(sent)

    def lagged(self, seconds: float) -> None:
        """The event loop was so late."""
        self._lag.observe(seconds)

    def measured(self, vitals: Vitals) -> None:
        """What was looked up for this page; NaN stands for what could not be."""
        self._queue.set(vitals.queue)
        self._connections.set(vitals.connections)
        self._disk.set(math.nan if vitals.disk_free is None else vitals.disk_free)
        self._certificate.set(math.nan if vitals.certificate_days is None else vitals.certificate_days)
        census = vitals.census
        for status in ("active", "left", "blocked"):
            self._devices.labels(status).set(math.nan if census is None else census.statuses.get(status, 0))
        self._seen.set(math.nan if census is None else census.seen)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self.registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self.registry)

    def _gauge(self, name: str, help_text: str, *labels: str) -> Gauge:
        return Gauge(name, help_text, labels, registry=self.registry)

    def _histogram(self, name: str, help_text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self.registry)


def accounting(metrics: Metrics) -> type[AbstractAccessLogger]:
    """An access logger that counts instead of writing: it is called once an answer's last byte is out."""

    class Accounting(AbstractAccessLogger):
        def log(self, request: web.BaseRequest, response: web.StreamResponse, time: float) -> None:
            route, received = request.get("route", "none"), request.get("received", 0)
            metrics.answered(route, response.status, received, response.body_length)

    return Accounting
