"""What is done per parameter on the server: check an upload, add it, unmask the sum."""

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fedit_shared.compiled import constant
from fedit_shared.errors import ProtocolError, SumError
from fedit_shared.parameters import DEGREE, ERROR_SIGMA, ERROR_TAIL, EXTRA_SLOTS, PRIMES
from fedit_shared.quantize import read_slots

from .kernels import add_rows, below_primes, open_rows, tables
from .masking import BATCH, PublicRows, RingKey
from .opening import Candidate
from .session import Session


def check_vector(session: Session, vector: NDArray[np.uint32]) -> None:
    """Raise ProtocolError unless ``vector``, as uploaded, is uint32 (rows, 2, N) of residues below their primes."""
    if vector.shape != (session.rows, 2, DEGREE) or vector.dtype != np.dtype("<u4"):
        raise ProtocolError("A masked vector is not of this round's size.")
    if not below_primes(constant(vector)):
        raise ProtocolError("A masked vector holds a word that is no residue.")


class WrongKeyError(SumError):
    """The key does not open the sum: another may."""


class VectorSum:
    """Σ y over the survivors: one vector in memory, however many are added."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._total = np.zeros((session.rows, 2, DEGREE), np.uint32)

    def add(self, vector: NDArray[np.uint32]) -> None:
        """Add one upload, uint32 (rows, 2, N); a memory-mapped file will do. Releases the GIL.

        Raises ProtocolError, with the sum unchanged, for what :func:`check_vector` refuses.
        """
        check_vector(self._session, vector)
        add_rows(self._total, constant(vector))

    def open(self, keys: Iterable[Candidate], survivors: int) -> tuple[Candidate, NDArray[np.unsignedinteger]]:
        """The first of ``keys`` that opens the sum of ``survivors`` uploads, and the sums of all slots.

        Raises SumError if there is none, or for what :meth:`slots` refuses.
        """
        refused = SumError("The answers do not agree on a key.")
        for candidate in keys:
            try:
                return candidate, self.slots(candidate.key, survivors)
            except WrongKeyError as error:
                refused = error
        raise refused

    def slots(self, key: NDArray[np.uint32], survivors: int) -> NDArray[np.unsignedinteger]:
        """The sums of all slots, padding left out: (d + 3,), uint16 for slots of up to 16 bits, else uint32.

        ``key``: S, uint32 (2, N). Raises WrongKeyError, at the first rows, if it does not open the sum of ``survivors``
        uploads: their errors' sum must stay within 12·σ·√|U| everywhere. Raises SumError if the padding is not 0.
        """
        session = self._session
        bits = session.settings.slot_bits
        kind: type[np.unsignedinteger] = np.uint16 if bits <= 16 else np.uint32
        out: NDArray[np.unsignedinteger] = np.empty(session.dimension + EXTRA_SLOTS, kind)
        ring_key, public = RingKey(key), PublicRows(session.sid)
        messages = np.empty((BATCH, DEGREE), np.uint64)
        tables0, tables1 = tables(PRIMES[0]), tables(PRIMES[1])
        for first in range(0, session.rows, BATCH):
            part = self._total[first : first + BATCH]
            count = part.shape[0]
            error = open_rows(
                part.reshape(count, 2, 64, 64),
                public.batch(first, count),
                ring_key.words,
                ring_key.shoup,
                tables0,
                tables1,
                messages[:count],
            )
            if error > ERROR_TAIL * ERROR_SIGMA * survivors**0.5:
                raise WrongKeyError("The key does not open this sum: a share or an upload is wrong.")
            if not read_slots(session.quantizer, first, messages[:count], out):
                raise SumError("The padding of a sum is not empty: somebody sent values out of range.")
        return out
