"""What is done per parameter on the server: check an upload, add it, unmask the sum, read the mean."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from .session import Session


def check_vector(session: Session, vector: NDArray[np.uint32]) -> None:
    """Raise ProtocolError unless ``vector``, uint32 (rows, 2, N) little-endian as uploaded, holds residues < p only."""
    raise NotImplementedError


@dataclass(frozen=True)
class Mean:
    """A cohort's result. ``delta``: float32 (d,), the weighted mean update; ``total_weight``: Σw; ``loss`` and
    ``clipped``: weighted means; ``survivors``: |U|."""

    delta: NDArray[np.float32]
    total_weight: int
    loss: float
    clipped: float
    survivors: int


class VectorSum:
    """Σ y over the survivors: one vector in memory, however many are added."""

    def __init__(self, session: Session) -> None:
        self._session = session

    def add(self, vector: NDArray[np.uint32]) -> None:
        """Add one upload, uint32 (rows, 2, N); a memory-mapped file will do. Releases the GIL."""
        raise NotImplementedError

    def slots(self, key: NDArray[np.uint32], survivors: int) -> NDArray[np.int64]:
        """The sums of all slots, padding left out: int64 (d + 3,). Raises SumError if ``key`` does not open this sum."""
        raise NotImplementedError

    def mean(self, key: NDArray[np.uint32], survivors: int) -> Mean:
        """The weighted mean update over ``survivors`` devices.

        Raises SumError if ``key`` does not open this sum, or if what comes out is no sum of valid updates:
        |U| ≤ Σw ≤ |U|·W, 0 ≤ Σslot ≤ 2L·Σw everywhere, padding 0.
        """
        raise NotImplementedError
