"""The headline, from the figures."""

from collections.abc import Sequence
from typing import Any

from .measure import Figure
from .scenario import PLANNED_DROPOUT, Scenario


def find(figures: Sequence[Figure], what: str, system: str, **where: Any) -> Figure | None:
    """The first figure of that name whose parameters are those given; None if it was not measured."""
    where |= {"what": what, "system": system}
    matching = (f for f in figures if all(getattr(f, name) == value for name, value in where.items()))
    return next(matching, None)


def summary(scenario: Scenario, figures: Sequence[Figure]) -> dict[str, float | None]:
    """How many times faster than the peers (None where one was not measured), and our own figures, all at the
    headline's d; dropout 20 %. ``client_seconds``: quantize and mask; ``unmask_seconds``: one cohort."""
    d, small, large, dropout = scenario.headline, scenario.small, scenario.large, PLANNED_DROPOUT
    client = find(figures, "client", "ours", d=d)
    unmask = find(figures, "unmask", "ours", d=d, n=small, dropout=dropout)
    many = find(figures, "unmask", "ours", d=d, n=large, dropout=dropout)
    upload = find(figures, "upload", "ours", d=d)
    flower_client = find(figures, "client", "flower", d=d, k=10)
    flower = find(figures, "unmask", "flower", d=d, n=large, dropout=dropout)
    flower_masks = find(figures, "unmask, masks alone", "flower", d=d, n=large, dropout=dropout)
    pairwise = find(figures, "unmask", "pairwise", d=d, n=large, dropout=dropout)
    cohorts = find(figures, "unmask in cohorts", "pairwise", d=d, n=large, dropout=dropout)
    return {
        "client_vs_flower_k10": _times(flower_client, client),
        "unmask_vs_flower_n1000_d20": _times(flower, many),
        "unmask_vs_flower_masks_alone_n1000_d20": _times(flower_masks, many),
        "unmask_vs_pairwise_n1000_d20": _times(pairwise, many),
        "unmask_vs_pairwise_in_cohorts_n1000_d20": _times(cohorts, many),
        "bytes_per_parameter": _value(upload),
        "client_seconds": _value(client),
        "unmask_seconds": _value(unmask),
    }


def _value(figure: Figure | None) -> float | None:
    return None if figure is None else float(f"{figure.value:.4g}")


def _times(theirs: Figure | None, mine: Figure | None) -> float | None:
    return None if theirs is None or mine is None else float(f"{theirs.value / mine.value:.4g}")
