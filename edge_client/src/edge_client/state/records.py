"""What is kept in files: small msgpack records, read back with every type checked."""

from typing import Literal, TypeVar

import msgspec

from edge_client.data import DataSource
from fedit_shared.errors import FeditError, ProtocolError
from fedit_shared.messages import decode, encode

Outcome = Literal["published", "abandoned", "failed", "closed", "expired", "refused", "superseded"]
R = TypeVar("R", bound=msgspec.Struct)


class Membership(msgspec.Struct, frozen=True, kw_only=True):
    """Which federation this folder belongs to, and where it is reached."""

    federation: bytes
    address: str
    pin: bytes | None
    server_key: bytes | None = None
    """None until the server has taken this device in."""
    name: str = ""
    task_hash: bytes | None = None
    """The task that this machine's owner agreed to by joining; None until it is known."""
    left: bool = False
    finished: str | None = None
    """What was said when the federation had no more work for anybody; None while it has."""


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """How this machine takes part; the owner's last word on it."""

    data: DataSource
    memory_bytes: int | None = None
    """What training may use; None: what is free."""
    model_folder: str | None = None
    """The base model's files; None: from the hub."""
    min_survivors: int = 3
    """This device stays out of sums of fewer; the protocol's own least is 3."""
    when: tuple[str, ...] = ()
    """The conditions that must all hold for training to run, as in :attr:`edge_client.yielding.When.words`."""


class Pause(msgspec.Struct, frozen=True, kw_only=True):
    """The owner's word that this machine is not to train."""

    until: int | None = None
    """Unix seconds; None: until the owner takes it back."""

    def holds(self, now: float) -> bool:
        """Whether it still counts at Unix time ``now``."""
        return self.until is None or now < self.until


class Trained(msgspec.Struct, frozen=True, kw_only=True):
    """A finished update: the SHA-256 of its delta, and what training said of it."""

    sha256: bytes
    examples: int
    loss: float


class Mustered(msgspec.Struct, frozen=True, kw_only=True):
    """With what a device stands in for a round. ``muster``: the message as it is sent, again and again."""

    round: int
    adapter: bytes
    task_hash: bytes
    update: str
    """Name of the update that is to go in."""
    not_after: int
    muster: bytes
    time: int = 0
    """When it was made, Unix seconds; 0 in a record of an older client, as all times here."""


class Ended(msgspec.Struct, frozen=True, kw_only=True):
    """What remains of a round that is over for this device."""

    round: int
    outcome: Outcome
    counted: bool
    """Whether this device's update is in the sum."""
    survivors: int
    members: int
    bytes_up: int
    time: int
    """When it ended here, Unix seconds."""
    reason: str = ""
    """Why it ended so, or why this device's update was not in it; empty where the outcome says it all."""
    began: int = 0
    """When this device mustered."""
    sent: int = 0
    """When the server had this device's update; 0: never."""
    mean_loss: float | None = None
    """Of the survivors, as published."""
    adapter: bytes = b""
    """The version that was current afterwards; empty where no result proves one."""


class CorruptStateError(FeditError):
    """A file of the state is not what was written."""

    exit_code = 6
    code = "disk"


def pack(record: msgspec.Struct) -> bytes:
    """``record`` as it is kept."""
    return encode(record)


def unpack(data: bytes, kind: type[R], where: object) -> R:
    """The ``kind`` in ``data``. Raises CorruptStateError naming ``where``."""
    try:
        return decode(data, kind)
    except ProtocolError as error:
        raise CorruptStateError(
            f"{where} is damaged: {error.message}",
            advice="Move the folder away and join with a new invitation. Never put back an older copy of it.",
        ) from error
