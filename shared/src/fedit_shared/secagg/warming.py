"""Every kernel compiled, or loaded from the cache on disk, before it is needed."""

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, EXTRA_SLOTS, LAYOUTS, PRIMES
from fedit_shared.quantize import Quantizer, read_mean, read_slots

from .kernels import add_rows, add_words, below_primes, combine, open_rows, tables
from .masking import PublicRows, RingKey, masked_rows
from .prg import key_from
from .sharing import evaluate

_NOTHING = bytes(32)


def warm() -> None:
    """Run every kernel once on next to nothing, for the types that a round uses.

    Seconds with an empty cache, else a fraction of one: for a thread beside training, or a server's start. A round
    then compiles nothing.
    """
    for bits in LAYOUTS:
        _vector(bits)
    _words()


def _vector(bits: int) -> None:
    quantizer = Quantizer((1,), (1.0,), bits, levels=1, max_weight=1)
    quantized = quantizer.prepare(np.full(1, 2, np.float32), 1, 0.0)  # beyond its range, to be scaled
    key = key_from(_NOTHING, _NOTHING)
    (rows,) = masked_rows(quantized, key, 1, _NOTHING, _NOTHING)
    rows.flags.writeable = False
    total = np.zeros_like(rows)
    add_rows(total, rows)
    below_primes(rows)
    ring_key, messages = RingKey(key), np.empty((1, DEGREE), np.uint64)
    public = PublicRows(_NOTHING).batch(0, 1)
    square = total.reshape(1, 2, 64, 64)
    open_rows(square, public, ring_key.words, ring_key.shoup, *map(tables, PRIMES), messages)
    kind: type[np.unsignedinteger] = np.uint16 if bits <= 16 else np.uint32
    slots: NDArray[np.unsignedinteger] = np.empty(quantizer.dimension + EXTRA_SLOTS, kind)
    read_slots(quantizer, 0, messages, slots)
    slots.fill(1)
    read_mean(quantizer, slots, 1)


def _words() -> None:
    words = np.frombuffer(bytes(8), "<u4")
    evaluate((-1, -2), words.reshape(2, 1), (1,), 0)
    add_words(np.zeros(2, "<u4"), words, *PRIMES)
    combine(words, *(np.uint64(value) for value in (1, 0, PRIMES[0])))
