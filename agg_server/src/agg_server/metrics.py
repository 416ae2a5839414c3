"""What an operator's Prometheus reads. Counts and durations only: nothing of any device or update."""

from collections import Counter as Tally

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from .rounds.events import Event
from .rounds.report import RoundReport


class Metrics:
    """One server's metrics, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter("fedit_events", "Events recorded", ["kind"], registry=self._registry)
        self._rounds = Counter("fedit_rounds", "Rounds ended", ["outcome"], registry=self._registry)
        self._dropped = Counter("fedit_dropped", "Devices dropped from rounds", ["phase"], registry=self._registry)
        self._seconds = Histogram(
            "fedit_round_seconds",
            "From a round's opening to its end",
            buckets=(60, 300, 900, 3600, 14400, 43200, 86400, 172800),
            registry=self._registry,
        )
        self._version = Gauge("fedit_adapter_version", "The adapter version that is current", registry=self._registry)
        self._finished = Gauge(
            "fedit_finished", "1 once all of [federation] rounds are published", registry=self._registry
        )
        self._loss = Gauge("fedit_mean_loss", "Weighted mean loss of the last published round", registry=self._registry)
        self._failures = Counter(
            "fedit_job_failures",
            "Failed attempts at a round's work; more than a few: see the log",
            ["job"],
            registry=self._registry,
        )
        self._error = Gauge(
            "fedit_quantization_error_ratio",
            "Expected quantization error of the last published mean update, as a fraction of its norm",
            registry=self._registry,
        )
        self._requests = Counter("fedit_requests", "Requests", ["route", "status"], registry=self._registry)
        self._bytes = Counter("fedit_received_bytes", "Bytes of request bodies", ["route"], registry=self._registry)

    def recorded(self, event: Event) -> None:
        """An event is on disk."""
        self._events.labels(type(event).__name__).inc()

    def stands(self, version: int, *, finished: bool) -> None:
        """The version that counts now, and whether the federation has finished."""
        self._version.set(version)
        self._finished.set(finished)

    def round_ended(self, report: RoundReport) -> None:
        """A round is over."""
        self._rounds.labels(report.outcome or "").inc()
        self._seconds.observe(report.seconds)
        for phase, count in Tally(drop.phase for drop in report.dropped).items():
            self._dropped.labels(phase).inc(count)
        if report.version is not None:
            self._error.set(report.relative_error or 0.0)
            weighted = [(c.total_weight, c.loss) for c in report.cohorts if c.loss is not None]
            self._loss.set(sum(w * loss for w, loss in weighted) / max(1, sum(w for w, _ in weighted)))

    def job_failed(self, job: str) -> None:
        """A job of the driver raised."""
        self._failures.labels(job).inc()

    def request(self, route: str, status: int, received: int) -> None:
        """A request has been answered."""
        self._requests.labels(route, str(status)).inc()
        self._bytes.labels(route).inc(received)

    def page(self) -> bytes:
        """The text that Prometheus scrapes."""
        return generate_latest(self._registry)
