"""Draws schedules from seeds."""

from random import Random

from .schedule import FAULT_SECONDS, SERVER, Op, Schedule

NEAR_DEVICE = (
    "sends POST muster",
    "receives 200 of poll",
    "replace to state/rounds",
    "sends PUT",
    "sends POST deal",
    "receives 200 of deal",
    "sends POST report",
    "sends POST vote",
    "sends POST answer",
    "unlink state",
)
NEAR_SERVER = (
    "database: commit",
    "database: committed",
    "replace to blobs",
    "sync blobs",
    "write blobs",
    "takes POST muster",
    "takes POST deal",
    "takes POST report",
    "takes POST vote",
    "takes POST answer",
)
"""Effects just after which a crash does most."""
_KINDS = (
    ["crash"] * 8
    + ["outage"] * 3
    + ["delay", "lose", "full"] * 2
    + ["cut", "corrupt", "replay", "flip", "sleep", "jump", "stop", "leave"]
)
_ANYWHERE = frozenset({"crash", "stop", "full", "flip", "jump", "sleep"})


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
    ops = [_fault(random, devices, honest, end) for _ in range(random.randint(1, 12))]
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


def _fault(random: Random, devices: int, honest: bool, end: float) -> Op:
    kind, device = random.choice(_KINDS), random.randrange(devices)
    who = SERVER if kind in _ANYWHERE and honest and random.random() < 0.45 else device
    at, seed, flag = random.uniform(0, end), random.getrandbits(32), random.random() < 0.5
    seconds, count, near = 0.0, 0, ""
    match kind:
        case "crash":
            seconds, count = 10 ** random.uniform(0, 2.3), int(10 ** random.uniform(0, 2.3))
            count += random.randrange(100) if who == SERVER else 0
            if random.random() < 0.5:
                near, count = random.choice(NEAR_SERVER if who == SERVER else NEAR_DEVICE), random.randrange(6)
        case "outage":
            at, seconds, count = 0.8 * at, random.uniform(20, 300), random.randint(1, devices // 2 + 1)
        case "stop" | "cut" | "sleep":
            seconds = 10 ** random.uniform(0, 2.5)
        case "delay":
            seconds = 10 ** random.uniform(0, 2.0)
        case "replay":
            count = random.randint(1, 20)
        case "full":
            seconds, count = random.uniform(5, 60), random.randrange(40)
        case "jump":
            seconds = random.choice([-1, 1]) * 10 ** random.uniform(0, 2.8)
    return Op(at=at, kind=kind, who=who, seconds=seconds, count=count, flag=flag, seed=seed, near=near)


def _cheat(random: Random, devices: int) -> list[Op]:
    """A trick that is played on a device, which half the time loses power at the point where it might fall for it."""
    who, at, seed = random.randrange(devices), random.uniform(0, 20), random.getrandbits(32)
    ops = [Op(at=at, kind="twist", who=who, seed=seed)]
    if random.random() < 0.5:
        near = random.choice(["sends POST vote", "sends POST vote", "receives 200 of poll", "sends POST deal"])
        count = random.randrange(4)
        ops.append(Op(at=at, kind="crash", who=who, seconds=1.0, count=count, flag=True, seed=seed, near=near))
    return ops
