"""The heavy part of each effect: from a snapshot of the state to the event that comes of it.

:func:`job` takes the snapshot, on the ledger's thread; what it returns runs on any other.
"""

from collections.abc import Callable
from functools import partial
from hashlib import sha256
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from agg_server import cohort as cohorts
from agg_server.adapters import publishing
from agg_server.config import Config
from agg_server.rounds.causes import EXPIRED
from agg_server.rounds.effects import ChooseSurvivors, Effect, FormCohorts, OpenSum, Propose, TakeStep
from agg_server.rounds.events import (
    AnyEvent,
    CohortEnded,
    CohortsFormed,
    FormedCohort,
    Mustered,
    RoundEnded,
    SumOpened,
    SurvivorsOffered,
)
from agg_server.rounds.state import Cohort, Round, muster_of
from agg_server.storage.kinds import Storage
from agg_server.storage.rooms import Rooms
from agg_server.store import AdapterVersion
from agg_server.summing import sums
from agg_server.summing.clipping import combined_error, first_ranges, lone_share, next_ranges, widest_range
from fedit_shared.errors import SumError
from fedit_shared.identity import SigningKey
from fedit_shared.messages import RoundSettings, TaskSpec, encode
from fedit_shared.quantize import Mean, read_mean
from fedit_shared.secagg import Aggregator, open_session
from fedit_shared.secagg.bodies import DealBody, RosterBody, RosterEntry

Job = Callable[[], AnyEvent | None]


class Tools(NamedTuple):
    """What the work needs besides a snapshot. ``random``: so many bytes from the operating system."""

    config: Config
    key: SigningKey
    blobs: Storage
    rooms: Rooms
    random: Callable[[int], bytes]


def job(tools: Tools, round: Round, effect: Effect, now: float) -> Job:
    """The work that ``effect`` asks for."""
    match effect:
        case Propose():
            return lambda: effect.event
        case FormCohorts():
            return partial(_form_cohorts, tools, round, dict(round.musters), now)
        case ChooseSurvivors():
            cohort = round.cohorts[effect.cohort]
            return partial(_choose_survivors, cohort.aggregator.snapshot(), effect)
        case OpenSum():
            cohort = round.cohorts[effect.cohort]
            return partial(_open_sum, tools, cohort.aggregator.snapshot(), effect)
        case TakeStep():
            sums = {cohort: round.cohorts[cohort].opened for cohort in effect.cohorts}
            opened = {cohort: total for cohort, total in sums.items() if total is not None}
            return partial(_take_step, tools, round, opened)


def _form_cohorts(tools: Tools, round: Round, musters: dict[bytes, Mustered], now: float) -> CohortsFormed | None:
    rules, not_after = round.opened.rules, int(round.must_last_until(now))
    bodies = {identity: muster_of(event) for identity, event in musters.items()}
    plan = cohorts.form(
        {identity: body.floor for identity, body in bodies.items() if body.not_after >= not_after},
        partition=round.opened.partition,
        smallest=rules.cohort_min,
        largest=rules.cohort_max,
    )
    if not plan.cohorts:
        return None
    settings = RoundSettings(
        model=round.task.model.id,
        clip=round.opened.clip,
        slot_bits=rules.slot_bits,
        max_weight=rules.max_weight,
        not_after=not_after,
    )
    formed = [_form(tools, round, encode(settings), [musters[i] for i in members]) for members in plan.cohorts]
    expired = [identity for identity, body in bodies.items() if body.not_after < not_after]
    return CohortsFormed(cohorts=tuple(formed), left_out=plan.left_out | dict.fromkeys(expired, EXPIRED))


def _form(tools: Tools, round: Round, settings: bytes, musters: list[Mustered]) -> FormedCohort:
    entries = []
    for event in musters:
        muster = muster_of(event)
        entries.append(RosterEntry(event.identity, event.round_key, muster.floor, muster.not_after, event.signature))
    cohort, opened = tools.random(16), round.opened
    body = RosterBody(
        opened.federation,
        round.task_hash,
        opened.round,
        cohort,
        opened.adapter,
        sha256(settings).digest(),
        tuple(entries),
    ).encode()
    signature = tools.key.sign("roster", body)
    open_session(body, signature, settings, opened.task, server_key=tools.key.public)  # as every member will
    return FormedCohort(cohort=cohort, roster=body, settings=settings, signature=signature)


def _choose_survivors(aggregator: Aggregator, effect: ChooseSurvivors) -> SurvivorsOffered | None:
    survivors = aggregator.choose_survivors()
    suspects = aggregator.suspects()
    if survivors is not None:
        return SurvivorsOffered(cohort=effect.cohort, survivors=survivors, suspects=suspects)
    if not effect.last:
        return None
    threshold = aggregator.session.parameters.threshold
    reason = f"{effect.reports} members reported; no {threshold} of them can answer for enough dealers"
    if effect.reports < threshold:
        reason = f"{effect.reports} of {threshold} reports came"
    return SurvivorsOffered(cohort=effect.cohort, survivors=b"", reason=reason, suspects=suspects)


def _open_sum(tools: Tools, aggregator: Aggregator, effect: OpenSum) -> SumOpened | CohortEnded | None:
    try:
        slots = sums.open_slots(aggregator, partial(_whole_upload, tools, aggregator))
    except SumError as error:
        return CohortEnded(cohort=effect.cohort, outcome="failed", reason=error.message) if effect.last else None
    tools.rooms.store_sum(effect.cohort, sums.encode_slots(slots))
    return sums.describe(aggregator, effect.cohort, slots)


def _whole_upload(tools: Tools, aggregator: Aggregator, identity: bytes) -> NDArray[np.uint32]:
    """The vector that the device's receipt names: hours may have passed since it came, and a bit can have changed."""
    upload = tools.rooms.upload(aggregator.session, identity)
    if upload.digest() != DealBody.decode(aggregator.receipts[identity].body).vector_hash:
        raise SumError(f"The upload of device {identity.hex()[:16]} on the server's disk is damaged.")
    return upload.vector()


def _take_step(tools: Tools, round: Round, opened: dict[bytes, SumOpened]) -> RoundEnded:
    """The step from these cohorts' sums.

    Cohorts are read one after the other, so memory does not grow with their number: 8 bytes a value for the update and,
    beside it, at most 12 more, first for one cohort's slots and mean, then for the adapters before and after. Measured:
    20.3 bytes a value, 81 MiB, with 16 cohorts of 4.2 million.
    """
    total = sum(cohort.total_weight for cohort in opened.values())
    means = (_read_mean(tools, round.cohorts[cohort]) for cohort in opened)
    update = publishing.combine(means, round.turn.dimension, total)
    weights = [cohort.total_weight for cohort in opened.values()]
    clipped = float(np.average([cohort.clipped for cohort in opened.values()], weights=weights))
    survivors = sum(len(round.cohorts[cohort].survivors) for cohort in opened)
    lone = lone_share(survivors, total, round.opened.rules.max_weight)
    step, base = tools.config.server_step, round.opened.adapter
    published = publishing.publish(tools.blobs, round.task, round.number, base, update, step)
    return RoundEnded(
        outcome="published",
        reason="",
        adapter=published.adapter,
        adapter_size=published.size,
        version=round.opened.next_version,
        clip=next_ranges(round.task, round.turn, round.opened.clip, update, clipped, lone),
        update_norm=published.update_norm,
        mean_norm=float(np.linalg.norm(update)),
        quantization_error=combined_error((c.quantization_error, c.total_weight) for c in opened.values()),
    )


def _read_mean(tools: Tools, cohort: Cohort) -> Mean:
    slots = sums.decode_slots(tools.rooms.read_sum(cohort.id))
    return read_mean(cohort.session.quantizer, slots, len(cohort.survivors))


def ranges_from(version: AdapterVersion, task: TaskSpec) -> tuple[float, ...]:
    """The ranges that come with a version, before :func:`opening_ranges`: those of a start adapter are the first ones
    of this very task, however its training was set when the federation was made."""
    return first_ranges(task) if version.round is None else version.clip


def opening_ranges(config: Config, task: TaskSpec, kept: tuple[float, ...]) -> tuple[float, ...]:
    """The clip ranges of the next round: the setting, or what the last published mean suggests. (It may have been
    published under other training settings, with another widest range.)"""
    if config.round.clip != "auto":
        return (config.round.clip,) * len(task.tensors)
    most = widest_range(task)
    return tuple(min(c, most) for c in kept) if len(kept) == len(task.tensors) else first_ranges(task)
