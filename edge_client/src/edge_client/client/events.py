"""What a client says while it works. Each is a value; ``describe`` puts it in words, ``to_json`` into plain data."""

import dataclasses
from dataclasses import dataclass
from typing import Any

import msgspec

from edge_client.state import Outcome
from edge_client.training import TrainEvent
from fedit_shared.messages import TaskSpec


@dataclass(frozen=True)
class Joined:
    """This device belongs to the federation; ``new`` if it was taken in just now."""

    federation: str
    address: str
    device: bytes
    new: bool


@dataclass(frozen=True)
class Retrying:
    """The server cannot be reached; the next try is in ``seconds``. Nothing is lost meanwhile."""

    problem: str
    seconds: float


@dataclass(frozen=True)
class Reconnected:
    """The server answers again."""


@dataclass(frozen=True)
class Waiting:
    """Nothing to do until the server says so. ``round``: the round that waits, None between rounds."""

    reason: str
    round: int | None = None
    present: int | None = None
    expected: int | None = None
    until: int | None = None


@dataclass(frozen=True)
class Offered:
    """Work: train this task from this adapter version, muster by ``train_until``."""

    round: int
    adapter: bytes
    adapter_size: int
    train_until: int
    not_after: int
    task: TaskSpec


@dataclass(frozen=True)
class Agreed:
    """Taking part means to agree to this task, seen for the first time now; any other one is refused from here on.

    ``upload_bytes``: what the masked update of a round takes at most; ``beside_bytes``: what its messages do, key
    shares sealed for each member above all, in the largest cohort. What is sent again comes on top.
    """

    task: TaskSpec
    upload_bytes: int
    beside_bytes: int


@dataclass(frozen=True)
class Downloading:
    """The adapter version comes down."""

    round: int
    received: int
    total: int


@dataclass(frozen=True)
class Training:
    """What the training child says."""

    round: int
    event: TrainEvent


@dataclass(frozen=True)
class Paused:
    """Training gets out of the way, or does not begin, because of ``reason``, a sentence; what is begun is kept. The
    short answers that rounds need go on. ``until``: Unix seconds, if known."""

    reason: str
    until: int | None = None


@dataclass(frozen=True)
class Resumed:
    """Training may run again."""


@dataclass(frozen=True)
class Declined:
    """This device takes no part in the round: its training would end too late, or the adapter is no longer there."""

    round: int
    reason: str


@dataclass(frozen=True)
class Trained:
    """An update is ready, on disk."""

    round: int
    examples: int
    loss: float


@dataclass(frozen=True)
class Mustered:
    """This device stands in for the round, and has promised answers until ``not_after``."""

    round: int
    floor: int
    not_after: int


@dataclass(frozen=True)
class RosterAccepted:
    """The cohort is known and checked; ``threshold`` answers will open its sum."""

    round: int
    cohort: bytes
    members: int
    threshold: int
    floor: int


@dataclass(frozen=True)
class Sealed:
    """The update is masked, on disk. ``clipped``: the fraction of its values that lay outside their clip range."""

    round: int
    clipped: float


@dataclass(frozen=True)
class Uploading:
    """The masked vector goes up; ``sent``: bytes that the server holds."""

    round: int
    sent: int
    total: int


@dataclass(frozen=True)
class Contributed:
    """The server has this device's vector and receipt. From here on, three short answers are needed."""

    round: int
    bytes_up: int


@dataclass(frozen=True)
class Reported:
    """This device said which dealers' packets it can use."""

    round: int


@dataclass(frozen=True)
class Voted:
    """This device voted, once, for the list of ``survivors``; 0: to abandon the cohort."""

    round: int
    survivors: int


@dataclass(frozen=True)
class Answered:
    """This device gave its sum of the survivors' shares."""

    round: int


@dataclass(frozen=True)
class RoundFinished:
    """A round is over for this device. ``counted``: its update is in the published sum.

    ``outcome``: ``published``, ``abandoned`` or ``failed`` are proved by the server's signature and the members' votes;
    ``closed`` (the server goes on without this device), ``expired`` (nobody may ask any more), ``refused`` (this
    device would not go along, ``reason`` says why) and ``superseded`` (it contributed anew) are not.
    """

    round: int
    outcome: Outcome
    counted: bool
    survivors: int = 0
    members: int = 0
    bytes_up: int = 0
    mean_loss: float | None = None
    adapter: bytes = b""
    reason: str = ""


@dataclass(frozen=True)
class FederationFinished:
    """The federation has no more work for anybody, ``reason`` says why. Should it go on, the next start takes part."""

    reason: str


@dataclass(frozen=True)
class Notice:
    """Something that the owner should know."""

    message: str


Event = (
    Joined
    | Retrying
    | Reconnected
    | Waiting
    | Offered
    | Agreed
    | Downloading
    | Training
    | Paused
    | Resumed
    | Declined
    | Trained
    | Mustered
    | RosterAccepted
    | Sealed
    | Uploading
    | Contributed
    | Reported
    | Voted
    | Answered
    | RoundFinished
    | FederationFinished
    | Notice
)


def to_json(event: Event) -> dict[str, Any]:
    """``event`` as plain data: its name under ``event``, bytes as hex; what a trainer says lies under ``training``,
    with its own name under ``event``."""
    fields = {field.name: _plain(getattr(event, field.name)) for field in dataclasses.fields(event)}
    if isinstance(event, Training):
        fields["training"] = fields.pop("event")
    return {"event": type(event).__name__, **fields}


def _plain(value: Any) -> Any:
    match value:
        case bytes():
            return value.hex()
        case TaskSpec(name=name, model=model, training=training, tensors=tensors, max_weight=max_weight):
            return {
                "name": name,
                "model": model.id,
                "revision": model.revision,
                "tensors": len(tensors),
                "training": msgspec.to_builtins(training),
                "max_weight": max_weight,
            }
        case msgspec.Struct():
            return {"event": type(value).__name__} | {
                name: field for name, field in msgspec.to_builtins(value).items() if name != "type"
            }
        case _:
            return value
