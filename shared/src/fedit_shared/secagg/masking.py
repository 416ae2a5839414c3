"""The ring's part of a contribution: a batch of rows at a time, so that what is worked on stays in the cache."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, PRIMES
from fedit_shared.quantize import Quantized

from .kernels import mask_rows, shoup, tables
from .prg import Stream, public_key, public_rows, secret_key

BATCH = 8
_SIDE = 64


class RingKey:
    """A secret s (or a sum of secrets), uint32 (2, N) in NTT order, made ready for multiplication."""

    def __init__(self, key: NDArray[np.uint32]) -> None:
        scaled = [
            (key[i].astype(np.uint64) * np.uint64(pow(DEGREE, -1, p)) % np.uint64(p)).astype(np.uint32)
            for i, p in enumerate(PRIMES)
        ]
        self.words = np.stack(scaled).reshape(2, _SIDE, _SIDE)
        self.shoup = np.stack([shoup(part, p) for part, p in zip(scaled, PRIMES, strict=True)]).reshape(2, _SIDE, _SIDE)

    def __repr__(self) -> str:
        return "RingKey(…)"


class PublicRows:
    """a_j of a session, batch after batch; the array it returns is used again."""

    def __init__(self, sid: bytes) -> None:
        self._stream = Stream(public_key(sid))
        self._rows = np.empty((BATCH, 2, DEGREE), np.uint32)

    def batch(self, first: int, count: int) -> NDArray[np.uint32]:
        """Rows ``first`` … as uint32 (count, 2, 64, 64)."""
        rows = self._rows[:count]
        public_rows(self._stream, first, rows)
        return rows.reshape(count, 2, _SIDE, _SIDE)


def masked_rows(
    quantized: Quantized, key: NDArray[np.uint32], rows: int, randomness: bytes, sid: bytes
) -> Iterator[NDArray[np.uint32]]:
    """y = a·s + t·e + M in batches, uint32 (≤ BATCH, 2, N); each is overwritten by the next."""
    ring_key, public = RingKey(key), PublicRows(sid)
    errors = Stream(secret_key(randomness, sid, "e"))
    rounding = Stream(secret_key(randomness, sid, "rounding"))
    error_words = np.empty((BATCH, DEGREE), np.uint64)
    rounding_words = np.empty((BATCH, quantized.quantizer.row_slots), np.uint32)
    messages = np.empty((BATCH, DEGREE), np.uint64)
    out = np.empty((BATCH, 2, _SIDE, _SIDE), np.uint32)
    tables0, tables1 = tables(PRIMES[0]), tables(PRIMES[1])
    for first in range(0, rows, BATCH):
        count = min(BATCH, rows - first)
        for row in range(count):
            errors.words(error_words[row], first + row)
            rounding.words(rounding_words[row], first + row)
        quantized.rows(first, rounding_words[:count], messages[:count])
        mask_rows(
            messages[:count],
            error_words[:count],
            public.batch(first, count),
            ring_key.words,
            ring_key.shoup,
            tables0,
            tables1,
            out[:count],
        )
        yield out[:count].reshape(count, 2, DEGREE)
