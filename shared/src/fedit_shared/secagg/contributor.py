"""The client's one upload: quantize, mask, deal the mask's key to the cohort."""

from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.identity import SigningKey
from fedit_shared.parameters import CHECKS, PRIMES

from . import merkle
from .bodies import DealBody
from .masking import masked_rows
from .prg import Stream, key_from, secret_key
from .sealing import seal
from .session import Session
from .sharing import share, to_blocks


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
        masked vector in order, a few rows at a time (32,768 bytes each, ``upload_size`` in all); it must not keep the
        view. Raises UserError for a delta that is not finite or not of the task's size.
        """
        session = self._session
        quantized = session.quantizer.prepare(update.delta, update.examples, update.loss)
        secret = key_from(randomness, session.sid)
        digest = sha256()
        for rows in masked_rows(quantized, secret, session.rows, randomness, session.sid):
            digest.update(rows.data)
            sink(rows.data.cast("B"))
        packets = self._packets(secret, randomness)
        leaves = merkle.leaves(session.identities, packets)
        deal = DealBody(session.sid, self._key.public, digest.digest(), merkle.root(leaves)).encode()
        return Contribution(deal, self._key.sign("deal", deal), b"".join(packets), quantized.clipped)

    def _packets(self, secret: NDArray[np.uint32], randomness: bytes) -> list[bytes]:
        session, parameters = self._session, self._session.parameters
        stream = Stream(secret_key(randomness, session.sid, "share"))
        blocks = parameters.blocks
        words = np.empty((parameters.members, parameters.packet_words), "<u4")
        for prime in range(len(PRIMES)):
            values = np.empty((parameters.threshold, blocks + CHECKS), np.uint32)
            values[: parameters.packing, :blocks] = to_blocks(parameters, secret[prime])
            fresh = np.empty((blocks, parameters.corrupt), np.uint32)
            stream.uniform_rows(fresh, prime)
            values[parameters.packing :, :blocks] = fresh.T
            for check in range(CHECKS):
                column = np.empty(parameters.threshold, np.uint32)
                stream.uniform(column, prime, blocks + check)
                values[:, blocks + check] = column
            shares = share(parameters, values, prime)
            words[:, prime * blocks : (prime + 1) * blocks] = shares[:, :blocks]
            at = parameters.words + prime * CHECKS
            words[:, at : at + CHECKS] = shares[:, blocks:]
        return [
            seal(entry.round_key, words[k].tobytes(), session.sid, self._key.public, entry.identity)
            for k, entry in enumerate(session.roster.entries)
        ]
