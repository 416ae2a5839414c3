"""What can happen in a round. A round's state is the fold of the events that were accepted, in order; each is in the
database before anybody is told.

Signatures and keys in events were checked before they came here, on worker threads; the journal is trusted.
"""

from typing import Literal

import msgspec

from fedit_shared.messages.fields import CohortId, Hash, Identity, Signature

Outcome = Literal["published", "abandoned", "failed"]


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """The settings that a round was opened with; seconds. A change of the file counts from the next round."""

    cohort_min: int
    cohort_target: int
    cohort_max: int
    fraction: float
    train_window: float
    muster_window: float
    contribute_window: float
    answer_window: float
    answer_grace: float
    slot_bits: Literal[12, 16, 24]
    max_weight: int


class Event(msgspec.Struct, frozen=True, kw_only=True, tag=True, forbid_unknown_fields=True):
    """Base of the events."""


class RoundOpened(Event, frozen=True, kw_only=True):
    """A round begins on this adapter; what it publishes will be ``next_version``.

    ``seed`` draws devices and shuffles; ``partition`` places them in cohorts and stays the same until a round fails.
    ``clip``: a range for each tensor.
    """

    round: int
    federation: Hash
    task: bytes
    adapter: Hash
    adapter_size: int
    version: int
    next_version: int
    seed: bytes
    partition: bytes
    clip: tuple[float, ...]
    rules: Rules


class Offered(Event, frozen=True, kw_only=True):
    """A device got the task."""

    identity: Identity


class Mustered(Event, frozen=True, kw_only=True):
    """A device has trained and stands in for a cohort."""

    identity: Identity
    body: bytes
    round_key: bytes
    signature: Signature


class Withdrawn(Event, frozen=True, kw_only=True):
    """A device that had mustered is not waited for any more."""

    identity: Identity
    reason: str


class FormedCohort(msgspec.Struct, frozen=True, kw_only=True):
    """A cohort's beginning: what every member gets as its Roster."""

    cohort: CohortId
    roster: bytes
    settings: bytes
    signature: Signature


class CohortsFormed(Event, frozen=True, kw_only=True):
    """The muster is over."""

    cohorts: tuple[FormedCohort, ...]
    left_out: dict[Identity, str]


class CohortEvent(Event, frozen=True, kw_only=True):
    """Base of the events of one cohort."""

    cohort: CohortId


class Dealt(CohortEvent, frozen=True, kw_only=True):
    """A device's vector and packets are stored and checked; this is its receipt."""

    identity: Identity
    body: bytes
    signature: Signature


class ContributeClosed(CohortEvent, frozen=True, kw_only=True):
    """No more deals: everybody dealt, or the time is over."""


class Reported(CohortEvent, frozen=True, kw_only=True):
    """Which packets a member could use."""

    identity: Identity
    report: bytes
    signature: Signature


class SurvivorsOffered(CohortEvent, frozen=True, kw_only=True):
    """The list to vote on; empty: the cohort is given up, for ``reason``."""

    survivors: bytes
    reason: str = ""
    suspects: tuple[Identity, ...] = ()


class Voted(CohortEvent, frozen=True, kw_only=True):
    """A member's vote."""

    identity: Identity
    survivors_hash: Hash
    signature: Signature


class Answered(CohortEvent, frozen=True, kw_only=True):
    """A member's sum of shares."""

    identity: Identity
    survivors_hash: Hash
    words: bytes
    signature: Signature


class SumOpened(CohortEvent, frozen=True, kw_only=True):
    """The cohort's sum is unmasked, checked, and stored."""

    total_weight: int
    loss: float
    clipped: float
    quantization_error: float
    suspects: tuple[Identity, ...] = ()


class CohortEnded(CohortEvent, frozen=True, kw_only=True):
    """The cohort ended without a sum: abandoned by vote, or failed."""

    outcome: Outcome
    reason: str


class RoundEnded(Event, frozen=True, kw_only=True):
    """The step is taken and the new adapter stored, or there is none.

    ``adapter``, ``adapter_size``, ``version``: the one that is current now; ``clip``: the ranges that follow from it.
    ``update_norm``: L2 norm of what the adapter moved by; ``mean_norm``: of the mean update that it followed;
    ``quantization_error``: the expected norm of what quantization added to that mean. None unless published.
    """

    outcome: Outcome
    reason: str
    adapter: Hash
    adapter_size: int
    version: int
    clip: tuple[float, ...]
    update_norm: float | None = None
    mean_norm: float | None = None
    quantization_error: float | None = None


AnyEvent = (
    RoundOpened
    | Offered
    | Mustered
    | Withdrawn
    | CohortsFormed
    | Dealt
    | ContributeClosed
    | Reported
    | SurvivorsOffered
    | Voted
    | Answered
    | SumOpened
    | CohortEnded
    | RoundEnded
)
