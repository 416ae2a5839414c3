"""What a round came to, as values: kept with the round, shown by ``fedit-server rounds``."""

from collections.abc import Iterable
from typing import Literal

import msgspec

from fedit_shared.parameters import upload_size

from .drops import Drop, drops
from .events import Outcome
from .state import Cohort, Phase, Round


class CohortReport(msgspec.Struct, frozen=True, kw_only=True):
    """One cohort; devices by their public keys in hex."""

    cohort: str
    phase: str
    outcome: Outcome | None
    reason: str
    until: float | None
    """When its phase ends at the latest."""
    roster: list[str]
    dealt: list[str]
    survivors: list[str]
    answered: list[str]
    suspects: list[str]
    upload_bytes: int
    total_weight: int
    loss: float | None
    clipped: float | None
    quantization_error: float | None

    @property
    def summed(self) -> frozenset[str]:
        """Whose updates are in its sum: nobody's before it is opened. ``survivors`` is the list that is voted on."""
        return frozenset(self.survivors) if self.phase == Phase.OPENED.value else frozenset()


class RoundReport(msgspec.Struct, frozen=True, kw_only=True):
    """One round. Times are Unix seconds; ``ended`` is None while it lasts."""

    round: int
    phase: str
    outcome: Outcome | None
    reason: str
    opened: float
    ended: float | None
    seconds: float
    version: int | None
    adapter_before: str
    adapter_after: str | None
    update_norm: float | None
    """L2 norm of what the adapter moved by …"""
    offered: int
    mustered: int
    cohorts: list[CohortReport]
    dropped: list[Drop]
    mean_norm: float | None = None
    """… and of the mean update that it followed; None unless published."""
    quantization_error: float | None = None
    """The expected L2 norm of what quantization added to the mean update."""

    @property
    def counted(self) -> frozenset[str]:
        """Whose updates are in a sum that was opened."""
        return frozenset(device for cohort in self.cohorts for device in cohort.summed)

    @property
    def summed(self) -> int | None:
        """How many these are; None while a sum may still be opened and none is."""
        return len(self.counted) or (0 if self.outcome else None)

    @property
    def relative_error(self) -> float | None:
        """``quantization_error`` as a fraction of the mean update's norm."""
        return self.quantization_error / self.mean_norm if self.quantization_error and self.mean_norm else None


def weighted_mean(cohorts: Iterable[CohortReport], field: Literal["loss", "clipped"]) -> float | None:
    """Of the opened cohorts, by their weight; None where none was."""
    found = [(cohort.total_weight, getattr(cohort, field)) for cohort in cohorts]
    opened = [(weight, value) for weight, value in found if value is not None]
    total = sum(weight for weight, _ in opened)
    return sum(weight * value for weight, value in opened) / total if total else None


def report(round: Round, now: float) -> RoundReport:
    """The round as it stands."""
    ended = round.ended
    published = ended is not None and ended.outcome == "published"
    return RoundReport(
        round=round.number,
        phase=round.phase.value,
        outcome=ended.outcome if ended else None,
        reason=ended.reason if ended else "",
        opened=round.opened_at,
        ended=round.ended_at,
        seconds=(now if round.ended_at is None else round.ended_at) - round.opened_at,
        version=ended.version if ended and published else None,
        adapter_before=round.opened.adapter.hex(),
        adapter_after=ended.adapter.hex() if ended and published else None,
        update_norm=ended.update_norm if ended else None,
        offered=len(round.offered),
        mustered=len(round.musters),
        cohorts=[_cohort(round, cohort) for cohort in round.cohorts.values()],
        dropped=drops(round),
        mean_norm=ended.mean_norm if ended else None,
        quantization_error=ended.quantization_error if ended else None,
    )


def _cohort(round: Round, cohort: Cohort) -> CohortReport:
    opened, ended, aggregator = cohort.opened, cohort.ended, cohort.aggregator
    last = round.ended if opened else ended
    return CohortReport(
        cohort=cohort.id.hex(),
        phase=cohort.phase.value,
        outcome=last.outcome if last else None,
        reason=last.reason if last else cohort.given_up,
        until=_until(cohort),
        roster=_hex(cohort.session.identities),
        dealt=_hex(aggregator.receipts),
        survivors=_hex(cohort.survivors),
        answered=_hex(aggregator.answers),
        suspects=_hex(cohort.suspects),
        upload_bytes=upload_size(cohort.session.dimension, cohort.settings.slot_bits),
        total_weight=opened.total_weight if opened else 0,
        loss=opened.loss if opened else None,
        clipped=opened.clipped if opened else None,
        quantization_error=opened.quantization_error if opened else None,
    )


def _until(cohort: Cohort) -> float | None:
    match cohort.phase:
        case Phase.CONTRIBUTE:
            return cohort.contribute_until
        case Phase.PREPARE:
            return cohort.prepare_until
        case Phase.VOTE | Phase.ANSWER | Phase.GIVEN_UP:
            return cohort.not_after
    return None


def _hex(identities: Iterable[bytes]) -> list[str]:
    return sorted(identity.hex() for identity in identities)
