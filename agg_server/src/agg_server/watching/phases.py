"""How long phases last, seen from the stages that the writer's turns tell."""

from collections.abc import Callable
from typing import NamedTuple

from ..rounds.state import Phase

_TIMED = frozenset({Phase.MUSTER, Phase.CONTRIBUTE, Phase.PREPARE, Phase.VOTE, Phase.ANSWER, Phase.GIVEN_UP})


class _Since(NamedTuple):
    stage: object
    phase: Phase | None
    time: float | None
    """None: it had begun before this clock."""


class PhaseClock:
    """Tells each phase's seconds once it is over; a phase that began before the server did is left out."""

    def __init__(self, tell: Callable[[str, float], object]) -> None:
        """``tell``: the phase's name and its seconds."""
        self._tell = tell
        self._known: dict[bytes, _Since] | None = None

    def update(self, stages: dict[bytes, object], now: float) -> None:
        """The stages of the round (under ``b""``) and the cohorts, as :meth:`Ledger.stages` gives them."""
        before, after = self._known or {}, {}
        for topic, stage in stages.items():
            known, phase = before.get(topic), _phase(stage)
            if known is None:
                after[topic] = _Since(stage, phase, None if self._known is None else now)
            elif known.phase is phase and (topic or known.stage == stage):
                after[topic] = known
            else:
                after[topic] = _Since(stage, phase, now)
        for topic, known in before.items():
            if after.get(topic) is not known and known.time is not None and known.phase in _TIMED:
                self._tell(known.phase.value, max(0.0, now - known.time))
        self._known = after


def _phase(stage: object) -> Phase | None:
    return next((part for part in stage if isinstance(part, Phase)), None) if isinstance(stage, tuple) else None
