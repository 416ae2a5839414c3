"""Figures as they are kept: rounded, each with its interval."""

from edge_client.evaluation.statistics import Interval

DIGITS = 5


def figures(interval: Interval, name: str) -> dict[str, float]:
    """``name``, ``low`` and ``high``."""
    return {
        name: round(interval.value, DIGITS),
        "low": round(interval.low, DIGITS),
        "high": round(interval.high, DIGITS),
    }
