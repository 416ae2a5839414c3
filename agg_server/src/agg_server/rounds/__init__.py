"""The round engine: pure, synchronous, deterministic. Time and randomness come in with the events.

Read in this order: ``events`` (what can happen), ``state``, ``transitions`` (the tables of legal steps), ``effects``
(what is to be done now), ``views`` (what a device is told), ``report`` and ``drops`` (what is kept of a round).
"""

from .effects import Effect, due, next_time
from .events import Event
from .state import Phase, Round
from .transitions import apply, open_round, repeats

__all__ = ["Phase", "Round", "apply", "due", "next_time", "open_round", "repeats", "step"]


def step(round: Round, event: Event, now: float) -> list[Effect]:
    """Record ``event`` and say what is due. Raises, with nothing changed, what :func:`apply` raises."""
    apply(round, event, now)
    return due(round, now)
