"""When to try again, and what to say meanwhile."""

import asyncio
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime

FIRST_DELAY = 1.0
LONGEST_DELAY = 60.0
LONGEST_RETRY_AFTER = 3600.0


@dataclass(frozen=True)
class Trouble:
    """The server cannot be reached, or is not itself. ``problem`` in plain words; next try in ``seconds``."""

    problem: str
    seconds: float


@dataclass(frozen=True)
class Recovered:
    """The server answers again."""


News = Callable[[Trouble | Recovered], None]


class TryAgainError(Exception):
    """A try that failed in a way that time may heal; ``after``: seconds that the server asked to wait. ``unheard``: no
    answer came, so what was asked for may have been done."""

    def __init__(self, problem: str, after: float = 0.0, *, unheard: bool = False) -> None:
        super().__init__(problem)
        self.problem = problem
        self.after = after
        self.unheard = unheard


def delays() -> Iterator[float]:
    """Seconds before each further try: doubling from FIRST_DELAY to LONGEST_DELAY, each drawn from its upper half, so
    that clients which lost their server together do not come back together."""
    delay = FIRST_DELAY
    while True:
        yield delay * random.uniform(0.5, 1.0)
        delay = min(LONGEST_DELAY, 2 * delay)


def retry_after(value: str | None, now: float) -> float:
    """Seconds that a ``Retry-After`` header asks for (a number or a date); 0 for none or nonsense."""
    if value is None:
        return 0.0
    try:
        seconds = float(value) if value.strip().isdigit() else parsedate_to_datetime(value).timestamp() - now
    except (ValueError, OverflowError):
        return 0.0
    return min(max(seconds, 0.0), LONGEST_RETRY_AFTER)


@dataclass
class Patience:
    """Waits between tries, for as many requests as run at once, and tells of each outage once per wait.

    ``base``: multiplies every delay (tests wait less).
    """

    tell: News
    base: float = 1.0
    _quiet_until: float = field(default=0.0, init=False)
    _troubled: bool = field(default=False, init=False)

    async def wait(self, error: TryAgainError, delay: float) -> None:
        """Say what is wrong, then wait ``delay``, beyond what the server asked for: it asks many for the same."""
        seconds = error.after + delay * self.base
        now = time.monotonic()
        if now >= self._quiet_until:
            self._quiet_until = now + seconds
            self._troubled = True
            self.tell(Trouble(error.problem, seconds))
        await asyncio.sleep(seconds)

    def succeeded(self) -> None:
        """A request went through."""
        if self._troubled:
            self._troubled = False
            self._quiet_until = 0.0
            self.tell(Recovered())
