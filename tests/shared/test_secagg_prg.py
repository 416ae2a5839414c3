"""The streams: many short rows at once give the very words that each row gives alone."""

from hashlib import sha256

import numpy as np
import pytest

from fedit_shared.parameters import PRIMES
from fedit_shared.secagg.prg import Stream


@pytest.mark.parametrize("count", [1, 3, 4, 5, 85])
@pytest.mark.parametrize("prime", [0, 1])
def test_rows_drawn_together_are_the_rows_drawn_one_by_one(prime: int, count: int):
    stream = Stream(sha256(b"rows").digest())
    together, alone = np.empty((2048, count), np.uint32), np.empty((2048, count), np.uint32)
    stream.uniform_rows(together, prime)
    for row in range(2048):
        stream.uniform(alone[row], prime, row)
    assert np.array_equal(together, alone)


def test_a_rejected_word_in_one_of_many_rows_is_replaced_as_in_that_row_alone():
    count, limit = 16, PRIMES[1]
    for seed in range(100):
        stream = Stream(sha256(seed.to_bytes(2, "little")).digest())
        raw = np.empty((2048, count), np.uint32)
        for row in range(2048):
            stream.fill(raw[row].view(np.uint8), 1, row)
        rejected = np.flatnonzero(((raw & 0x7FFFFFFF) >= limit).any(axis=1))
        if rejected.size:
            break
    else:
        pytest.fail("no word was ever rejected")
    together, alone = np.empty_like(raw), np.empty(count, np.uint32)
    stream.uniform_rows(together, 1)
    for row in rejected:
        stream.uniform(alone, 1, int(row))
        assert np.array_equal(together[row], alone)
        assert (alone < limit).all()
