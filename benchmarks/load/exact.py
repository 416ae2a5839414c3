"""Whether an opened sum is the integer sum of what the survivors put in: nothing is masked here."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file

from fedit_shared.parameters import DEGREE, EXTRA_SLOTS
from fedit_shared.quantize import read_slots
from fedit_shared.secagg.prg import Stream, secret_key

from .device import Share

_ROWS = 8


def is_exact(cohort: Mapping[str, Any], shares: Mapping[str, Share]) -> bool:
    """``cohort``: of ``rounds --json``; ``shares``: by identity in hex, what each device put in."""
    expected = plain_sum([shares[name] for name in cohort["survivors"]])
    return bool(np.array_equal(load_file(Path(cohort["sum"]))["slots"], expected))


def plain_sum(shares: Sequence[Share]) -> NDArray[np.uint64]:
    """The sum of one cohort's slots, uint64 (d + 3,), modulo nothing: it stays below 2⁴⁸ by the protocol's bounds."""
    session = shares[0].session
    messages = np.zeros((session.rows, DEGREE), np.uint64)
    for share in shares:
        _add(share, messages)
    slots = np.zeros(session.quantizer.dimension + EXTRA_SLOTS, np.uint64)
    assert read_slots(session.quantizer, 0, messages, slots), "padding is not 0"
    return slots


def _add(share: Share, messages: NDArray[np.uint64]) -> None:
    session, update = share.session, share.update
    quantized = session.quantizer.prepare(update.delta, update.examples, update.loss)
    rounding = Stream(secret_key(share.randomness, session.sid, "rounding"))
    words = np.empty((_ROWS, session.quantizer.row_slots), np.uint32)
    rows = np.empty((_ROWS, DEGREE), np.uint64)
    for first in range(0, session.rows, _ROWS):
        count = min(_ROWS, session.rows - first)
        for row in range(count):
            rounding.words(words[row], first + row)
        quantized.rows(first, words[:count], rows[:count])
        messages[first : first + count] += rows[:count]
