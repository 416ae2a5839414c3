"""What the server says."""

from typing import Annotated, Literal

import msgspec

from .fields import CohortId, Count, Hash, Identity, Message, Signature, Size, Text, UnixTime

Outcome = Literal["published", "abandoned", "failed"]


class Enrolled(Message, frozen=True, kw_only=True):
    """The device is known. ``server_key``: the federation's Ed25519 key; its hash must be the link's FEDERATION."""

    server_key: Identity
    federation_name: Text


class Accepted(Message, frozen=True, kw_only=True):
    """What was sent is on the server's disk. Sending it again changes nothing."""


class Wait(Message, frozen=True, kw_only=True):
    """Nothing to do yet: ask again after ``seconds``. ``reason`` in words that can be shown to a person."""

    reason: Text
    seconds: Annotated[float, msgspec.Meta(ge=0, le=86400)]
    present: Count | None = None
    """How many are here by now …"""
    expected: Count | None = None
    """… of how many awaited."""
    until: UnixTime | None = None
    """When the wait ends at the latest."""


class Closed(Message, frozen=True, kw_only=True):
    """There is no more to come. To a check-in: the federation has finished. To a poll: the round ended, or goes on,
    without this device. It is not signed and proves nothing: an update whose deal has left may be in a sum, and is not
    mustered again on this word, but only on a :class:`Result` whose certificate shows a list without it."""

    reason: Text


class Offer(Message, frozen=True, kw_only=True):
    """A task for this round.

    ``task``: a TaskSpec, msgpack, hashed as received. ``signature``: purpose ``checkin`` by the server over
    :class:`bodies.OfferBody` made of these fields.
    """

    task: Annotated[bytes, msgspec.Meta(max_length=2**22)]
    round: Count
    adapter: Hash
    adapter_size: Size
    """Bytes of the adapter's safetensors file; its SHA-256 is ``adapter``."""
    train_until: UnixTime
    """A device that cannot have mustered by then declines."""
    not_after: UnixTime
    """The latest time at which this round may still ask for answers: a muster must last until then."""
    signature: Signature


class Roster(Message, frozen=True, kw_only=True):
    """The cohort that this device belongs to. ``body``: :func:`bodies.RosterBody`, signed by the server with purpose
    ``roster``; ``settings``: a RoundSettings, msgpack, hashed as received."""

    cohort: CohortId
    body: Annotated[bytes, msgspec.Meta(max_length=2**19)]
    settings: Annotated[bytes, msgspec.Meta(max_length=2**20)]
    signature: Signature
    contribute_until: UnixTime


class Receipt(Message, frozen=True, kw_only=True):
    """One dealer's signed deal."""

    identity: Identity
    body: Annotated[bytes, msgspec.Meta(min_length=128, max_length=128)]
    signature: Signature


class Prepare(Message, frozen=True, kw_only=True):
    """Everybody's receipts, in order of identity, and the packets dealt to this device, in the same order.

    Each entry of ``packets`` is the sealed packet followed by its Merkle proof (32 bytes a node).
    """

    receipts: Annotated[list[Receipt], msgspec.Meta(max_length=255)]
    packets: Annotated[list[Annotated[bytes, msgspec.Meta(max_length=2**15)]], msgspec.Meta(max_length=255)]


class Survivors(Message, frozen=True, kw_only=True):
    """The list to vote on: :func:`bodies.encode_survivors`. Empty: the cohort is to be abandoned."""

    survivors: Annotated[bytes, msgspec.Meta(max_length=2**14)]


class Certificate(Message, frozen=True, kw_only=True):
    """The votes for that list: (identity ‖ signature), identities rising."""

    survivors: Annotated[bytes, msgspec.Meta(max_length=2**14)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=2**15)]


class Result(Message, frozen=True, kw_only=True):
    """How a cohort ended. ``signature``: purpose ``result`` by the server over :class:`bodies.ResultBody`.

    ``certificate``: the votes that ended it (for the survivors, or for the empty list), empty if it failed without.
    """

    cohort: CohortId
    round: Count
    outcome: Outcome
    survivors: Annotated[bytes, msgspec.Meta(max_length=2**14)]
    certificate: Annotated[bytes, msgspec.Meta(max_length=2**15)]
    adapter: Hash
    """The version that is current now: a new one if published, else the one the round began with."""
    total_weight: Count
    mean_loss: float | None
    signature: Signature


class ChunksHeld(Message, frozen=True, kw_only=True):
    """Which pieces of this device's upload are on the server's disk: bit i of ``held`` (little-endian bits)."""

    held: Annotated[bytes, msgspec.Meta(max_length=2**16)]


class Refused(Message, frozen=True, kw_only=True):
    """The answer to a message that was not accepted; ``code`` as in :mod:`fedit_shared.errors`."""

    code: Text
    message: Text
    advice: Text = ""
    server_time: UnixTime | None = None


ServerMessage = (
    Enrolled
    | Accepted
    | Wait
    | Closed
    | Offer
    | Roster
    | Prepare
    | Survivors
    | Certificate
    | Result
    | ChunksHeld
    | Refused
)
