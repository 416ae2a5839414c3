"""Schedules: a federation, and a list of things that happen to it. Drawn from a seed, or read from a file."""

from collections.abc import Callable

import msgspec

SERVER = -1
FAULT_SECONDS = 60.0
"""Virtual seconds for each round to be published in which bad things begin; an undisturbed one takes 30 to 60."""
HEAL_SECONDS = 60.0
"""So long after that, at the earliest, everything works again."""


class Op(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happens at ``at`` seconds to machine ``who`` (a device's number, or SERVER)."""

    at: float
    kind: str
    who: int
    seconds: float = 0.0
    count: int = 0
    flag: bool = False
    seed: int = 0
    near: str = ""
    """Of a crash: a part of the effect from which on ``count`` counts."""

    def __str__(self) -> str:
        name = "the server" if self.who == SERVER else f"device {self.who}"
        return f"{self.at:6.1f} s  {_WORDS[self.kind](self, name)}"


class Schedule(msgspec.Struct, frozen=True, kw_only=True):
    """``floors``: one for each device. ``target``: musters that close the muster; ``largest``: members of a cohort;
    ``rounds``: versions to publish. ``honest``: whether the server follows the protocol."""

    seed: int
    floors: tuple[int, ...]
    target: int
    largest: int
    rounds: int
    slot_bits: int
    honest: bool
    ops: tuple[Op, ...]

    @property
    def faults_end(self) -> float:
        """After so many virtual seconds nothing bad begins any more."""
        return FAULT_SECONDS * self.rounds

    @property
    def heal_at(self) -> float:
        """Virtual seconds from which on machines run, clocks are right, the network works and disks have room."""
        outages = (op.at + op.seconds for op in self.ops if op.kind == "outage")
        return max([self.faults_end + HEAL_SECONDS, *outages])

    def __str__(self) -> str:
        head = (
            f"{len(self.floors)} devices with floors {list(self.floors)}, cohorts of up to {self.largest}, "
            f"{self.rounds} rounds, {'an honest' if self.honest else 'a malicious'} server (seed {self.seed})"
        )
        return "\n".join([head, *(f"  {op}" for op in self.ops)])


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """A schedule that once broke a rule, and what it shows now that it does not."""

    claim: str
    schedule: Schedule


def _crash(op: Op, name: str) -> str:
    since = f" after {op.near!r}" if op.near else ""
    end = "loses power" if op.flag else "is killed"
    return f"{name} {end}, {op.count} effects{since} from now, and is up again {op.seconds:.0f} s later"


def _outage(op: Op, name: str) -> str:
    end = "lose power" if op.flag else "are off the network"
    return f"{name} and the {op.count - 1} after it {end} for {op.seconds:.0f} s"


def _way(op: Op) -> str:
    return "reply" if op.flag else "request"


_WORDS: dict[str, Callable[[Op, str], str]] = {
    "crash": _crash,
    "outage": _outage,
    "stop": lambda op, name: f"{name} is stopped in order, and started again after {op.seconds:.0f} s",
    "join": lambda op, name: f"{name} joins",
    "leave": lambda op, name: f"{name} leaves the federation",
    "cut": lambda op, name: f"{name} is off the network for {op.seconds:.0f} s",
    "delay": lambda op, name: f"a {_way(op)} of {name} is {op.seconds:.0f} s late",
    "lose": lambda op, name: f"a {_way(op)} of {name} is lost",
    "corrupt": lambda op, name: f"a bit of a {_way(op)} of {name} is changed",
    "replay": lambda op, name: f"{op.count} earlier requests reach the server again",
    "flip": lambda op, name: f"a bit on the disk of {name} is changed",
    "full": lambda op, name: f"the disk of {name} is full {op.count} writes later, for {op.seconds:.0f} s",
    "sleep": lambda op, name: f"{name} is suspended for {op.seconds:.0f} s",
    "jump": lambda op, name: f"the clock of {name} jumps by {op.seconds:+.0f} s",
    "twist": lambda op, name: f"the server begins to cheat {name} ({op.seed})",
}
