"""The client's one upload: quantize, mask, deal the mask's key to the cohort."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fedit_shared.identity import SigningKey

from .session import Session


@dataclass(frozen=True)
class Update:
    """What local training gave: ``delta`` float32 (d,), adapter − global adapter; records seen; their mean loss."""

    delta: NDArray[np.float32]
    examples: int
    loss: float


@dataclass(frozen=True)
class Contribution:
    """What goes with the masked vector: the signed deal and the n sealed packets, joined, in order of the roster.

    ``clipped``: fraction of this device's values that lay outside their clip range (for its owner's eyes).
    """

    deal: bytes
    signature: bytes
    packets: bytes
    clipped: float


class Contributor:
    """Contributes once, with one secret. Running it twice with other randomness would mask twice: the caller stores
    what it returns before anything is sent, and sends that again after a restart."""

    def __init__(self, session: Session, key: SigningKey) -> None:
        self._session = session
        self._key = key

    def contribute(self, update: Update, randomness: bytes, sink: Callable[[memoryview], object]) -> Contribution:
        """Mask ``update`` and deal the key.

        ``randomness``: 32 fresh bytes from the operating system, to be forgotten after this call. ``sink`` gets the
        masked vector, row by row (32,768 bytes each, ``upload_size`` in all). Raises UserError for a delta that is not
        finite or not of the task's size.
        """
        raise NotImplementedError
