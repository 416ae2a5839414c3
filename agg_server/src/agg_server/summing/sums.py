"""Adding a cohort's uploads and unmasking the sum. Blocks for seconds: called on worker threads."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import ProtocolError, SumError
from fedit_shared.quantize import read_totals
from fedit_shared.secagg import Aggregator, VectorSum
from fedit_shared.secagg.bodies import decode_survivors

from ..errors import CorruptError
from ..rounds.events import SumOpened
from ..storage.hashed import load_hashed, save_hashed
from .clipping import rounding_error

Slots = NDArray[np.unsignedinteger]


def open_slots(aggregator: Aggregator, upload: Callable[[bytes], NDArray[np.uint32]]) -> Slots:
    """The sums of all slots over the certified survivors, (d + 3,).

    ``upload``: identity → its vector, uint32 (rows, 2, N), mapped from a file. Raises SumError while the answers do
    not give a key that opens the sum; more answers may.
    """
    keys = list(aggregator.open_key())
    if not keys:
        raise SumError("The answers do not agree on a key.")
    survivors = decode_survivors(aggregator.survivors or b"")
    total = VectorSum(aggregator.session)
    for survivor in survivors:
        try:
            total.add(upload(survivor.identity))
        except ProtocolError as error:  # it was checked when it came
            raise SumError("An upload on the server's disk is damaged.") from error
    proved, slots = total.open(keys, len(survivors))
    aggregator.blame(proved)
    read_totals(aggregator.session.quantizer, slots, len(survivors))  # published is only what this accepts
    return slots


def describe(aggregator: Aggregator, cohort: bytes, slots: Slots) -> SumOpened:
    """What is recorded of an opened sum."""
    session = aggregator.session
    totals = read_totals(session.quantizer, slots, len(decode_survivors(aggregator.survivors or b"")))
    return SumOpened(
        cohort=cohort,
        total_weight=totals.total_weight,
        loss=totals.loss,
        clipped=totals.clipped,
        quantization_error=rounding_error(session.quantizer, totals.survivors, totals.total_weight),
        suspects=aggregator.suspects(),
    )


def encode_slots(slots: Slots) -> bytes:
    """The file that keeps an opened sum: safetensors, one tensor ``slots``, with its hash."""
    return save_hashed({"slots": slots})


def decode_slots(data: bytes) -> Slots:
    """The slots that :func:`encode_slots` stored. Raises SumError for a damaged file."""
    try:
        return load_hashed(data)["slots"]
    except (CorruptError, KeyError) as error:
        raise SumError("The file of an opened sum is damaged.") from error
