"""How far the federation goes from one arm to another, as a share of the gap between them."""

from typing import Any

import numpy as np

from edge_client.evaluation.statistics import Draws, around

from .figures import figures
from .journal import Judged


def way(start: Judged, own: Judged, end: Judged, draws: Draws) -> dict[str, Any]:
    """``gap``: the loss of ``start`` less that of ``end``; ``closed``: which share of it ``own`` is below ``start``.
    Both → value, low, high, paired by record. ``closed`` is None unless the gap is above zero over its whole interval:
    a share of what may be nothing says nothing."""
    tokens = np.array(own.tokens, np.float64)
    gained, whole = np.array(start.losses) - np.array(own.losses), np.array(start.losses) - np.array(end.losses)
    gap = draws.interval(whole, tokens)
    closed = None
    if gap.low > 0:
        drawn = draws.means(gained, tokens) / draws.means(whole, tokens)
        closed = figures(around(float(gained.sum() / whole.sum()), drawn[np.isfinite(drawn)]), "value")
    return {"gap": figures(gap, "value"), "closed": closed}


def told(found: dict[str, Any] | None, start: str) -> str:
    """In a sentence. ``start``: in words, whence."""
    if found is None:
        return ""
    gap, closed = found["gap"], found["closed"]
    if closed is None:
        return (
            f"From {start} to centralized it is {gap['value']:.4f} ({gap['low']:.4f} to {gap['high']:.4f}): "
            "no gap of which a share could be told."
        )
    share = f"{closed['value']:.0%} ({closed['low']:.0%} to {closed['high']:.0%})"
    return f"Of the gap from {start} to centralized, federated closes {share}."
