"""Getting out of the way: when training may run on a machine that belongs to somebody.

:mod:`.when` is what the owner wishes, :mod:`.policy` decides from what was observed, :mod:`.observer` looks, and
:class:`Gate` carries the decision to the training. Only training yields: a round's short answers go on.
"""

from .gate import Gate, YieldError
from .observer import Observer
from .policy import Observation, Standing, judge
from .when import ALWAYS, When, parse_when

__all__ = ["ALWAYS", "Gate", "Observation", "Observer", "Standing", "When", "YieldError", "judge", "parse_when"]
