"""Jobs that fail: when each is tried again, and when it is given up."""

from collections.abc import Collection
from typing import NamedTuple

from agg_server.errors import CorruptError, UnavailableError
from agg_server.ledger import Due

FIRST_SECONDS = 5.0
LONGEST_SECONDS = 300.0
ATTEMPTS = 8
"""A job that fails for a reason that does not pass is given up after so many: the last comes 10 minutes after the
first, time in which an operator can stop a server that has just been upgraded to a broken release."""


class Count(NamedTuple):
    """What a lane has seen since it last went well. ``broken``: failures in a row that time does not mend."""

    failures: int = 0
    broken: int = 0

    @property
    def pause(self) -> float:
        """Seconds until the next attempt: doubled with each failure, within bounds."""
        return min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** (self.failures - 1))

    @property
    def hopeless(self) -> bool:
        """Whether more attempts are of no use."""
        return self.broken >= ATTEMPTS


class Failures:
    """Failures of jobs that are still due, by lane. In memory only: a new start, perhaps of a mended release, begins
    anew."""

    def __init__(self) -> None:
        self._counts: dict[Due, Count] = {}

    def note(self, lane: Due, error: Exception) -> Count:
        """A job of this lane failed."""
        failures, broken = self._counts.get(lane, Count())
        count = Count(failures + 1, 0 if may_pass(error) else broken + 1)
        self._counts[lane] = count
        return count

    def keep(self, lanes: Collection[Due]) -> None:
        """Forget all lanes but these: what is not due any more has been done, or is of no use."""
        self._counts = {lane: count for lane, count in self._counts.items() if lane in lanes}


def may_pass(error: Exception) -> bool:
    """Whether the reason lies outside the program, where it may be mended while the server runs: a full disk, a locked
    database, an adapter to be put back from a backup, no memory. Everything else is a bug, or damage that stays."""
    return isinstance(error, UnavailableError | CorruptError | OSError | MemoryError)
