"""Randomness expanded from short keys: AES in counter mode, and uniform residues by rejection.

One stream per (key, prime, row): the counter block starts at prime1 ‖ 0³ ‖ row4 ‖ 0⁸. Words are little-endian.
"""

from hashlib import sha256
from typing import Literal

import numpy as np
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numpy.typing import NDArray

from fedit_shared.parameters import DEGREE, PRIMES

from .kernels import keep_31_bits

Use = Literal["s", "e", "share", "rounding"]
_TAIL = 64
_BLOCK_WORDS = 4
_LOW31 = np.uint32((1 << 31) - 1)


def public_key(sid: bytes) -> bytes:
    """The AES-128 key of the public a: SHA256("fedit/1/a\\0" ‖ sid)[:16]."""
    return sha256(b"fedit/1/a\0" + sid).digest()[:16]


def secret_key(randomness: bytes, sid: bytes, use: Use) -> bytes:
    """The AES-256 key of one secret stream: HKDF-SHA-256(randomness, salt sid, info "fedit/1/prg/" ‖ use)."""
    return HKDF(SHA256(), 32, salt=sid, info=b"fedit/1/prg/" + use.encode()).derive(randomness)


class Stream:
    """AES-CTR under one key. Not safe for use by two threads at once."""

    def __init__(self, key: bytes) -> None:
        self._cipher = Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
        self._block_cipher = Cipher(algorithms.AES(key), modes.ECB()).encryptor()
        self._zeros = b""

    def fill(self, out: NDArray[np.uint8], prime: int, row: int) -> None:
        """Overwrite ``out`` (contiguous) with the start of the stream of ``prime`` (0 or 1) and ``row``."""
        if len(self._zeros) < out.size:
            self._zeros = bytes(out.size)
        self._cipher.reset_nonce(bytes([prime, 0, 0, 0]) + row.to_bytes(4, "little") + bytes(8))
        self._cipher.update_into(memoryview(self._zeros)[: out.size], out.data)

    def words(self, out: NDArray[np.unsignedinteger], row: int) -> None:
        """Fill a row of whole words (uint32 or uint64, contiguous) from the stream of prime 0."""
        self.fill(out.view(np.uint8), 0, row)

    def uniform(self, out: NDArray[np.uint32], prime: int, row: int) -> None:
        """Fill ``out``, uint32 (count,) contiguous, with residues uniform mod p.

        Words are taken mod 2³¹; one ≥ p is rejected, and its place gets the next word that is accepted after the first
        ``count`` ones: rejected places in rising order.
        """
        self.fill(out.view(np.uint8), prime, row)
        if keep_31_bits(out) >= PRIMES[prime]:
            self._replace(out, prime, row, _TAIL)

    def uniform_rows(self, out: NDArray[np.uint32], prime: int) -> None:
        """Fill each row B of ``out``, uint32 (rows, count) contiguous, as :meth:`uniform` does from row B: made for
        thousands of rows of a few words, whose counter blocks are encrypted together."""
        rows, count = out.shape
        blocks = -(-count // _BLOCK_WORDS)
        counters = np.zeros((rows, blocks, 4), "<u4")
        counters[:, :, 0] = prime
        counters[:, :, 1] = np.arange(rows)[:, None]
        counters[:, :, 3] = np.arange(blocks, dtype=">u4").view("<u4")
        words = np.frombuffer(self._block_cipher.update(counters.tobytes()), "<u4").reshape(rows, blocks * _BLOCK_WORDS)
        np.bitwise_and(words[:, :count], _LOW31, out=out)
        for row in np.flatnonzero((out >= PRIMES[prime]).any(axis=1)):
            self.uniform(out[row], prime, int(row))

    def _replace(self, out: NDArray[np.uint32], prime: int, row: int, tail: int) -> None:
        rejected = np.flatnonzero(out >= PRIMES[prime])
        longer = np.empty(out.size + tail, np.uint32)
        self.fill(longer.view(np.uint8), prime, row)
        spare = longer[out.size :] & _LOW31
        spare = spare[spare < PRIMES[prime]]
        if spare.size < rejected.size:
            self._replace(out, prime, row, 2 * tail)
        else:
            out[rejected] = spare[: rejected.size]


def public_rows(stream: Stream, first: int, out: NDArray[np.uint32]) -> None:
    """a of rows ``first``…, NTT order, into ``out``: uint32 (rows, 2, N)."""
    for row in range(out.shape[0]):
        for prime in range(2):
            stream.uniform(out[row, prime], prime, first + row)


def key_from(randomness: bytes, sid: bytes) -> NDArray[np.uint32]:
    """The secret s, NTT order: uint32 (2, N)."""
    stream = Stream(secret_key(randomness, sid, "s"))
    key = np.empty((2, DEGREE), np.uint32)
    for prime in range(2):
        stream.uniform(key[prime], prime, 0)
    return key
