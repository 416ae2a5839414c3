"""A device's integer slots without any mask, written a second time from ``docs/protocol.md``, "Quantization".

The demo sums these and holds the sum against what the server opened: bit for bit the same, or the demo fails.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, LAYOUTS, LOSS_CEILING, RECORDS_PER_WEIGHT
from fedit_shared.secagg import Session, Update
from fedit_shared.secagg.prg import Stream, secret_key


def plain_slots(session: Session, update: Update, randomness: bytes) -> NDArray[np.int64]:
    """int64 (d + 3,): the slots that ``update`` has under its mask, ``randomness`` being that of the contribution."""
    settings, members = session.settings, len(session.roster.entries)
    levels = (2**settings.slot_bits - 1) // (2 * members * settings.max_weight)
    weight = min(settings.max_weight, -(-update.examples // RECORDS_PER_WEIGHT))
    limit = weight * levels
    sizes = session.turn.pick(session.turn.sizes)
    clip = np.repeat(np.array(session.turn.pick(settings.clip)), sizes)
    values = update.delta.astype(np.float64)
    scaled = np.clip(values * (limit / np.maximum(clip, reach(values, sizes))), -limit, limit)
    clipped = np.count_nonzero(np.abs(values) > clip) / values.size
    extras = [0.0, 2 * limit * min(update.loss, LOSS_CEILING) / LOSS_CEILING, 2 * limit * clipped]
    uniform = _rounding(session, randomness)[: values.size + len(extras)] * 2.0**-32
    slots: NDArray[np.int64] = np.minimum(
        np.floor(np.concatenate([scaled, extras]) + uniform).astype(np.int64), 2 * limit
    )
    slots[: values.size] = np.minimum(slots[: values.size], limit) + limit
    slots[values.size] = weight
    return slots


def reach(values: NDArray[np.float64], sizes: Sequence[int]) -> NDArray[np.float64]:
    """For each value, the largest size of one of its tensor that is not among the first ⌊z/100⌋ of its z values."""
    tensors = np.split(np.abs(values), np.cumsum(sizes)[:-1])
    return np.repeat([np.sort(tensor)[-1 - tensor.size // 100] for tensor in tensors], sizes)


def _rounding(session: Session, randomness: bytes) -> NDArray[np.uint32]:
    stream = Stream(secret_key(randomness, session.sid, "rounding"))
    words = np.empty((session.rows, DEGREE * LAYOUTS[session.settings.slot_bits]), np.uint32)
    for row in range(session.rows):
        stream.words(words[row], row)
    return words.reshape(-1)
