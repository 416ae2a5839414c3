"""Schedules: a federation, and a list of things that happen to it. Drawn from a seed, or read from a file."""

from random import Random

import msgspec

SERVER = -1
FAULT_SECONDS = 60.0
"""Virtual seconds for each round to be published in which bad things begin; an undisturbed one takes 30 to 60."""


class Op(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One thing that happens at ``at`` seconds to machine ``who`` (a device's number, or SERVER)."""

    at: float
    kind: str
    who: int
    seconds: float = 0.0
    count: int = 0
    flag: bool = False
    seed: int = 0

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


_WORDS = {
    "crash": lambda op, name: (
        f"{name} {'loses power' if op.flag else 'is killed'} {op.count} effects later, "
        f"and is up again after {op.seconds:.0f} s"
    ),
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
KINDS = tuple(_WORDS)


def _way(op: Op) -> str:
    return "reply" if op.flag else "request"


def draw(seed: int, *, honest: bool | None = None) -> Schedule:
    """The schedule of this seed. ``honest``: whether the server is to be; None: drawn, mostly yes."""
    random = Random(seed)
    devices = random.choice([3, 3, 4, 4, 5, 5, 6, 7, 8])
    drawn = random.random() < 0.85
    honest = drawn if honest is None else honest
    largest = random.choice([3, 4]) if devices >= 6 and random.random() < 0.5 else 64
    floors = [3] * devices
    if random.random() < 0.2:
        floors[random.randrange(devices)] = min(devices, largest)
    rounds = random.choice([1, 1, 2, 2, 3])
    end = FAULT_SECONDS * rounds
    ops = [_draw_op(random, devices, honest, end) for _ in range(random.randint(1, 12))]
    late = [device for device in range(3, devices) if random.random() < 0.15]
    ops += [Op(at=random.uniform(0, end), kind="join", who=device) for device in late]
    if not honest:
        ops += [op for _ in range(random.randint(1, 4)) for op in _cheat(random, devices)]
    return Schedule(
        seed=seed,
        floors=tuple(floors),
        target=random.choice([0, devices, max(3, devices - 1)]),
        largest=largest,
        rounds=rounds,
        slot_bits=random.choice([12, 16, 16, 24]),
        honest=honest,
        ops=tuple(sorted(ops, key=lambda op: op.at)),
    )


def _draw_op(random: Random, devices: int, honest: bool, end: float) -> Op:
    kinds = ["crash"] * 8 + ["cut", "delay", "delay", "lose", "lose", "corrupt", "replay", "full", "full"]
    kinds += ["flip", "sleep", "jump", "stop", "leave"]
    kind = random.choice(kinds)
    device = random.randrange(devices)
    everywhere = kind in ("crash", "stop", "full", "flip", "jump", "sleep")
    who = SERVER if everywhere and honest and random.random() < 0.45 else device
    at = random.uniform(0, end)
    seed = random.getrandbits(32)
    flag = random.random() < 0.5
    match kind:
        case "crash":
            effects = int(10 ** random.uniform(0, 2.3)) + (random.randrange(100) if who == SERVER else 0)
            return Op(at=at, kind=kind, who=who, seconds=random.uniform(0, 60), count=effects, flag=flag, seed=seed)
        case "stop" | "cut" | "sleep":
            return Op(at=at, kind=kind, who=who, seconds=10 ** random.uniform(0, 2.5))
        case "delay":
            return Op(at=at, kind=kind, who=who, seconds=10 ** random.uniform(0, 2.0), flag=flag)
        case "lose" | "corrupt":
            return Op(at=at, kind=kind, who=who, flag=flag, seed=seed)
        case "replay":
            return Op(at=at, kind=kind, who=who, count=random.randint(1, 20), seed=seed)
        case "full":
            return Op(at=at, kind=kind, who=who, seconds=random.uniform(5, 60), count=random.randrange(40))
        case "jump":
            return Op(at=at, kind=kind, who=who, seconds=random.choice([-1, 1]) * 10 ** random.uniform(0, 2.8))
    return Op(at=at, kind=kind, who=who, seed=seed)


def _cheat(random: Random, devices: int) -> list[Op]:
    """A trick that is played on a device, which half the time loses power at the point where it might fall for it."""
    who = random.randrange(devices)
    ops = [Op(at=random.uniform(0, 20), kind="twist", who=who, seed=random.getrandbits(32))]
    if random.random() < 0.5:
        at, effects = random.uniform(10, FAULT_SECONDS), random.randrange(60)
        ops.append(Op(at=at, kind="crash", who=who, seconds=1.0, count=effects, flag=True, seed=random.getrandbits(32)))
    return ops
