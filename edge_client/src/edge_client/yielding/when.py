"""``--when``: the conditions that must all hold for training to run."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from fedit_shared.errors import UserError

DAY_MINUTES = 24 * 60
_SEARCHED_SECONDS = 3 * 24 * 60 * 60
"""Hours that the clock skips, where summer time begins, are there again a day later."""


@dataclass(frozen=True)
class Hours:
    """The minutes of every day from ``start`` up to, not with, ``end``, in minutes after midnight of the local clock.
    Over midnight if ``end`` is the smaller one."""

    start: int
    end: int

    def __str__(self) -> str:
        return "-".join(f"{minute // 60:02}:{minute % 60:02}" for minute in (self.start, self.end))

    def hold(self, minute: int) -> bool:
        """Whether ``minute`` of a day lies within."""
        if self.start < self.end:
            return self.start <= minute < self.end
        return minute >= self.start or minute < self.end


@dataclass(frozen=True)
class When:
    """What the owner asks for; with nothing set, training may always run."""

    idle: bool = False
    charging: bool = False
    hours: tuple[Hours, ...] = ()

    @property
    def words(self) -> tuple[str, ...]:
        """As it is written and kept; () for always."""
        named = (("idle", self.idle), ("charging", self.charging))
        return (*(name for name, asked in named if asked), *(str(hours) for hours in self.hours))

    def __str__(self) -> str:
        return ", ".join(self.words) or "always"

    @property
    def looks(self) -> bool:
        """Whether the machine has to be looked at, besides the clock."""
        return self.idle or self.charging

    def hours_hold(self, now: float) -> bool:
        """Whether all hours hold at the Unix time ``now``, by the local clock."""
        return self._hold(_local_minute(now))

    def hours_begin(self, now: float) -> int:
        """The Unix time of the next minute in which all hours hold, by the clock as it will be then; not at ``now``."""
        first = int(now) // 60 * 60 + 60
        return next(at for at in range(first, first + _SEARCHED_SECONDS, 60) if self.hours_hold(at))

    def _hold(self, minute: int) -> bool:
        return all(hours.hold(minute) for hours in self.hours)


ALWAYS = When()


def parse_when(words: Iterable[str]) -> When:
    """``idle``, ``charging``, ``always`` and ``HH:MM-HH:MM``, also several with commas. Raises UserError."""
    names: set[str] = set()
    hours: list[Hours] = []
    for word in (part.strip() for several in words for part in several.lower().split(",")):
        if word in ("idle", "charging", "always"):
            names.add(word)
        else:
            hours.append(_hours(word))
    when = When(idle="idle" in names, charging="charging" in names, hours=tuple(dict.fromkeys(hours)))
    if "always" in names and when != ALWAYS:
        raise UserError(f"Training cannot run always and only when: {when}.", advice="Leave out 'always'.")
    if not any(when._hold(each.start) for each in when.hours) and when.hours:
        raise UserError(
            f"The hours {', '.join(map(str, when.hours))} have no minute in common, and all must hold.",
            advice="Name one span of hours; it may go over midnight, like 22:00-06:00.",
        )
    return when


def _hours(word: str) -> Hours:
    match = re.fullmatch(r"(\d{1,2}):(\d\d)-(\d{1,2}):(\d\d)", word)
    if match:
        hour, minute, end_hour, end_minute = map(int, match.groups())
        start, end = 60 * hour + minute, (60 * end_hour + end_minute) % DAY_MINUTES
        if hour < 24 and end_hour <= 24 and max(minute, end_minute) < 60 and 60 * end_hour + end_minute <= DAY_MINUTES:
            if start == end:
                raise UserError(
                    f"The hours {word} are empty, or the whole day.", advice="For the whole day, leave them out."
                )
            return Hours(start, end)
    raise UserError(
        f"{word!r} is no time for training.", advice="Write idle, charging, always, or hours like 22:00-06:00."
    )


def _local_minute(now: float) -> int:
    local = datetime.fromtimestamp(now)
    return 60 * local.hour + local.minute
