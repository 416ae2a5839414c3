"""A round's updates as the server gets them: under masks, quantized in the clear, or exact.

The first two give the same numbers, bit for bit: a mask falls away whole, and the roundings are drawn from the same
streams. The third differs from them by no more than quantization, as :func:`agg_server.summing.clipping.rounding_error`
predicts, and by what clipping takes away. More updates than one cohort may have are summed in several, which the
server's own rule forms.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from agg_server import cohort as cohorts
from agg_server.adapters.publishing import combine
from agg_server.summing import slot_size
from agg_server.summing.clipping import combined_error, rounding_error
from agg_server.summing.slot_size import FINE, USUAL, Bits, fits, following_bits
from agg_server.summing.sums import open_slots
from benchmarks.secagg.cohort import NOT_AFTER, Cohort
from fedit_shared.messages import RoundSettings, TaskSpec
from fedit_shared.parameters import COHORT_MAX, COHORT_MIN, DEGREE, EXTRA_SLOTS, levels, rows, upload_size
from fedit_shared.quantize import Mean, Quantizer, read_mean, read_slots
from fedit_shared.secagg import Update
from fedit_shared.secagg.prg import Stream, secret_key

from .settings import Federation


class Summed(NamedTuple):
    """A round's weighted mean, ``update``, float64 (d,), with the mean ``loss`` and the mean fraction ``clipped``.
    ``error``: the L2 norm that quantization is expected to add; ``upload``: bytes that a client sends; ``bits``: of a
    summed value in the next round, whatever the settings say to it."""

    update: NDArray[np.float64]
    total_weight: int
    loss: float
    clipped: float
    error: float
    upload: int
    bits: Bits


class Round(NamedTuple):
    """What a round's cohorts agree on. ``clip``: each tensor's range; ``adapter``: hash of the version trained;
    ``seed``: decides keys and roundings; ``bits``: of a summed value."""

    number: int
    clip: tuple[float, ...]
    adapter: bytes
    seed: int
    bits: Bits


def first_bits(rules: Federation, count: int) -> Bits:
    """Of a summed value in the first round, of ``count`` clients: as the server begins."""
    if rules.slot_bits != "auto":
        return rules.slot_bits
    return USUAL if fits(min(count, COHORT_MAX), USUAL, rules.max_weight) else FINE


def add(updates: Sequence[Update], task: TaskSpec, rules: Federation, at: Round) -> Summed:
    """The mean of ``updates``, each weighted as the protocol weighs it. Raises UserError for one that is not finite."""
    size = task.turn(at.number).dimension
    if rules.sum == "exact":
        exact = _exact(_quantizer(min(len(updates), COHORT_MAX), task, rules, at), updates)
        return _whole([(exact, 0.0)], size, 4 * size, at.bits)
    random = np.random.default_rng([at.seed, 2, at.number])
    sums: list[tuple[Mean, float]] = []
    public = []
    for places in _cohorts(len(updates), at):
        quantizer = _quantizer(len(places), task, rules, at)
        mean = _add_cohort([updates[place] for place in places], quantizer, task, rules, at, random)
        sums.append((mean, rounding_error(quantizer, len(places), mean.total_weight)))
        public.append(slot_size.Summed(quantizer, len(places), len(places), mean.total_weight))
    summed = _whole(sums, size, upload_size(size, at.bits), at.bits)
    if rules.slot_bits == "auto":
        return summed._replace(bits=following_bits(public, float(np.linalg.norm(summed.update))))
    return summed._replace(bits=rules.slot_bits)


def _cohorts(count: int, at: Round) -> Sequence[Sequence[int]]:
    """Places of the updates that are summed together, as the server would cut a muster of so many."""
    if count <= COHORT_MAX:
        return [range(count)]
    places = {place.to_bytes(4, "big"): place for place in range(count)}
    partition = np.random.default_rng([at.seed, 6, at.number]).bytes(32)
    floors = dict.fromkeys(places, COHORT_MIN)
    plan = cohorts.form(floors, partition=partition, smallest=COHORT_MIN, largest=COHORT_MAX)
    return [[places[identity] for identity in members] for members in plan.cohorts]


def _quantizer(members: int, task: TaskSpec, rules: Federation, at: Round) -> Quantizer:
    turn = task.turn(at.number)
    top = levels(members, at.bits, rules.max_weight)
    return Quantizer(turn.pick(turn.sizes), turn.pick(at.clip), at.bits, top, rules.max_weight)


def _whole(sums: Sequence[tuple[Mean, float]], size: int, upload: int, bits: Bits) -> Summed:
    """From each cohort's mean with its error."""
    weights = [mean.total_weight for mean, _ in sums]
    total = sum(weights)
    return Summed(
        combine((mean for mean, _ in sums), size, total),
        total,
        float(np.average([mean.loss for mean, _ in sums], weights=weights)),
        float(np.average([mean.clipped for mean, _ in sums], weights=weights)),
        combined_error((error, mean.total_weight) for mean, error in sums),
        upload,
        bits,
    )


def _add_cohort(
    updates: Sequence[Update],
    quantizer: Quantizer,
    task: TaskSpec,
    rules: Federation,
    at: Round,
    random: np.random.Generator,
) -> Mean:
    count = len(updates)
    if count < COHORT_MIN:  # too few to hide among each other: the protocol has no session for them
        secrets = [random.bytes(32) for _ in updates]
        return _plain(quantizer, updates, secrets, random.bytes(32))
    settings = RoundSettings(
        model=task.model.id, clip=at.clip, slot_bits=at.bits, max_weight=rules.max_weight, not_after=NOT_AFTER
    )
    agreed = msgspec.structs.replace(task, max_weight=rules.max_weight)
    cohort = Cohort(count, agreed, settings, round_=at.number, adapter=at.adapter, random=random.bytes)
    if rules.sum == "masked":
        return _masked(cohort, updates)
    return _plain(quantizer, updates, [device.randomness for device in cohort.devices], cohort.session.sid)


def _masked(cohort: Cohort, updates: Sequence[Update]) -> Mean:
    """By the whole protocol, every message of it made and checked."""
    vectors: dict[bytes, NDArray[np.uint32]] = {}
    contributions = []
    for device, update in zip(cohort.devices, updates, strict=True):
        vectors[device.key.public], contribution = cohort.upload(device, update)
        contributions.append(contribution)
    slots = open_slots(cohort.answered(contributions), vectors.__getitem__)
    return read_mean(cohort.session.quantizer, slots, len(updates))


def _plain(quantizer: Quantizer, updates: Sequence[Update], secrets: Sequence[bytes], sid: bytes) -> Mean:
    """The slots that lie under the masks, added."""
    count = rows(quantizer.dimension, quantizer.slot_bits)
    total = np.zeros((count, DEGREE), np.uint64)
    words = np.empty((count, quantizer.row_slots), np.uint32)
    messages = np.empty_like(total)
    for update, secret in zip(updates, secrets, strict=True):
        stream = Stream(secret_key(secret, sid, "rounding"))
        for row in range(count):
            stream.words(words[row], row)
        quantizer.prepare(update.delta, update.examples, update.loss).rows(0, words, messages)
        total += messages
    kind: type[np.unsignedinteger] = np.uint16 if quantizer.slot_bits <= 16 else np.uint32
    slots: NDArray[np.unsignedinteger] = np.empty(quantizer.dimension + EXTRA_SLOTS, kind)
    read_slots(quantizer, 0, total, slots)
    return read_mean(quantizer, slots, len(updates))


def _exact(quantizer: Quantizer, updates: Sequence[Update]) -> Mean:
    weights = [quantizer.weight(update.examples) for update in updates]
    total = sum(weights)
    delta = np.zeros(quantizer.dimension)
    for update, weight in zip(updates, weights, strict=True):
        delta += weight / total * update.delta
    loss = sum(weight * update.loss for update, weight in zip(updates, weights, strict=True)) / total
    return Mean(total, loss, 0.0, len(updates), delta.astype(np.float32))
