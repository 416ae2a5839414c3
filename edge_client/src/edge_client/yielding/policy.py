"""Whether training may run: a pure function of the owner's wishes, the clock, and what was seen of the machine.

The owner's word and the hours count at once. What is seen of the machine has to last: a hindrance LASTING_SECONDS
before training stops, its absence CALM_SECONDS before it begins again, and a load must fall lower for that than it had
to rise. So nothing flaps: a stop and a start cost the loading of a model.
"""

from dataclasses import dataclass, replace

from edge_client.state import Pause

from .when import When

LOOK_SECONDS = 2.0
"""The machine is looked at this often, where the owner's wishes depend on it."""
LASTING_SECONDS = 3.0
CALM_SECONDS = 120.0
INPUT_SECONDS = 15.0
"""A keyboard or mouse used less than this ago is in use."""
CPU_BUSY, CPU_QUIET = 0.25, 0.15
"""Parts of all cores that other processes use: from the first on, training that runs stops; below the second, it may
start."""
GPU_BUSY, GPU_QUIET = 0.20, 0.10
"""The same of the time of a card's processors: a desktop alone needs a few percent."""


@dataclass(frozen=True)
class Observation:
    """What was seen of the machine. Loads are fractions, since the last look; None: it cannot be told here."""

    cpu_others: float | None = None
    """Of all cores, by processes that are not the client's."""
    gpu_others: float | None = None
    """Of the busiest NVIDIA card, by processes that are not the client's."""
    input_age: float | None = None
    """Seconds since the keyboard or mouse was last used."""
    on_battery: bool = False


@dataclass(frozen=True)
class Standing:
    """Whether training may run; if not, why (a sentence), and until when (Unix seconds) if that is known."""

    may_work: bool
    reason: str = ""
    until: int | None = None
    look_at: float | None = None
    """Unix seconds at which to look at the machine again; None: it was not looked at yet."""
    hindrance: str = ""
    """What is seen of the machine keeps training from running, for this reason; "": it does not."""
    turning_since: float | None = None
    """Since when the opposite of that has been seen without a break."""


def judge(
    when: When, now: float, *, pause: Pause | None, seen: Observation | None, before: Standing | None
) -> Standing:
    """How things stand at Unix time ``now``. ``seen``: None between two looks. ``before``: the last Standing; what is
    seen first counts at once."""
    standing = replace(before or Standing(True), may_work=False, reason="", until=None)
    if seen is not None:
        standing = _settled(standing, _hindrances(when, seen, stopped=bool(standing.hindrance)), now, before is None)
        standing = replace(standing, look_at=now + LOOK_SECONDS)
    if pause is not None and pause.holds(now):
        return replace(standing, reason="Its owner paused it.", until=pause.until)
    if not when.hours_hold(now):
        hours = " and ".join(str(hours) for hours in when.hours)
        return replace(standing, reason=f"It is to run at {hours} only.", until=when.hours_begin(now))
    if standing.hindrance:
        return replace(standing, reason=standing.hindrance)
    return replace(standing, may_work=True)


def _settled(standing: Standing, hindrances: list[str], now: float, first: bool) -> Standing:
    if bool(hindrances) == bool(standing.hindrance):
        named = standing.hindrance if standing.hindrance in hindrances else (*hindrances, "")[0]
        return replace(standing, hindrance=named, turning_since=None)
    since = now if standing.turning_since is None else standing.turning_since
    if not first and now - since < (LASTING_SECONDS if hindrances else CALM_SECONDS):
        return replace(standing, turning_since=since)
    return replace(standing, hindrance=(*hindrances, "")[0], turning_since=None)


def _hindrances(when: When, seen: Observation, *, stopped: bool) -> list[str]:
    """Why training should not run now. ``stopped``: whether a reason was found before."""
    found = []
    if when.charging and seen.on_battery:
        found.append("This machine runs on its battery.")
    if when.idle:
        if seen.input_age is not None and seen.input_age < INPUT_SECONDS:
            found.append("The keyboard or mouse is in use.")
        if seen.gpu_others is not None and seen.gpu_others >= (GPU_QUIET if stopped else GPU_BUSY):
            found.append("Another program uses the graphics card.")
        if seen.cpu_others is not None and seen.cpu_others >= (CPU_QUIET if stopped else CPU_BUSY):
            found.append("Other programs use the processor.")
    return found
