"""What a client says."""

from typing import Annotated, Literal

import msgspec

from .fields import CohortId, Count, Hash, Identity, Message, Signature, Text, UnixTime

Accelerator = Literal["cpu", "cuda", "rocm", "xpu", "mps"]
Step = Literal["mustered", "contributed", "reported", "voted", "answered"]


class Enrol(Message, frozen=True, kw_only=True):
    """A new device presents its invitation. ``signature``: purpose ``enrol`` over :class:`bodies.EnrolBody`."""

    identity: Identity
    token: Annotated[bytes, msgspec.Meta(min_length=16, max_length=16)]
    time: UnixTime
    signature: Signature


class CheckIn(Message, frozen=True, kw_only=True):
    """A device is here and asks for work. Answered by Offer or Wait."""

    client_version: Text
    accelerator: Accelerator
    memory_gib: Count
    wait: Annotated[int, msgspec.Meta(ge=0, le=60)] = 0
    """Seconds that the server may hold the request until there is work."""


class Muster(Message, frozen=True, kw_only=True):
    """A device has finished training and stands in for a cohort. ``body``: :class:`bodies.MusterBody`, purpose
    ``muster``; ``round_key``: its fresh HPKE public key (1,216 bytes)."""

    body: Annotated[bytes, msgspec.Meta(min_length=146, max_length=146)]
    round_key: Annotated[bytes, msgspec.Meta(min_length=1216, max_length=1216)]
    signature: Signature


class Poll(Message, frozen=True, kw_only=True):
    """What comes next for me, after what I did last?

    After ``mustered`` comes Roster, after ``contributed`` Prepare, after ``reported`` Survivors, after ``voted``
    Certificate, after ``answered`` Result; Wait until then, Closed when it will not come, Result as soon as there is
    one. What came once can be asked for again until ``not_after``.
    """

    round: Count
    cohort: CohortId | None = None
    """None until the roster is known (``after == "mustered"``)."""
    after: Step
    wait: Annotated[int, msgspec.Meta(ge=0, le=60)] = 0


class Deal(Message, frozen=True, kw_only=True):
    """The receipt of a finished upload, and the sealed shares. ``body``: :class:`bodies.DealBody`, purpose ``deal``;
    ``packets``: n sealed packets of equal length, joined, in order of the roster."""

    cohort: CohortId
    body: Annotated[bytes, msgspec.Meta(min_length=128, max_length=128)]
    signature: Signature
    packets: Annotated[bytes, msgspec.Meta(max_length=2**20)]


class Report(Message, frozen=True, kw_only=True):
    """Which dealers' packets could be used. ``report``: :func:`bodies.encode_report`; ``signature``: purpose
    ``report`` over sid ‖ identity ‖ SHA-256(report)."""

    cohort: CohortId
    report: Annotated[bytes, msgspec.Meta(max_length=2**16)]
    signature: Signature


class Vote(Message, frozen=True, kw_only=True):
    """This is the one list of survivors. ``signature``: purpose ``vote`` over sid ‖ survivors_hash."""

    cohort: CohortId
    survivors_hash: Hash
    signature: Signature


class Answer(Message, frozen=True, kw_only=True):
    """My sum of the certified survivors' shares. ``words``: uint32 little-endian; ``signature``: purpose ``answer``
    over sid ‖ survivors_hash ‖ index ‖ SHA-256(words)."""

    cohort: CohortId
    survivors_hash: Hash
    words: Annotated[bytes, msgspec.Meta(max_length=2**16)]
    signature: Signature


class Leave(Message, frozen=True, kw_only=True):
    """The device leaves the federation: it is offered no more work."""


ClientMessage = Enrol | CheckIn | Muster | Poll | Deal | Report | Vote | Answer | Leave
