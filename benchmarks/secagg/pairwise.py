"""A sound pairwise masking (Bonawitz et al. 2017; Bell et al. 2020 for k neighbours), written for speed.

A client adds one mask of its own and, for every neighbour, a mask from their X25519 secret: the one with the smaller
index adds it, the other subtracts it. Masks are AES-128-CTR, expanded chunk by chunk in the cache. The server takes
off the own masks of survivors and, for each who dropped, the masks shared with its surviving neighbours, from seeds and
keys that t neighbours' Shamir shares open.

In its favour: sealing of shares, signatures and consistency checks are left out, and reconstruction is by plain
integers mod 2⁵²¹ − 1. Its words are as narrow as ours allow: 16 bits where that holds the sum, else 32.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import prod

import numpy as np
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher, CipherContext, algorithms, modes
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from numba import njit
from numpy.typing import NDArray

from .scenario import CLIP, WEIGHT, Neighbours

Words = NDArray[np.unsignedinteger]
Word = type[np.uint16] | type[np.uint32]
Share = tuple[int, int]
FIELD = (1 << 521) - 1
CHUNK = 1 << 16
STREAMS = 64
"""Ciphers open at a time."""


def word_type(clients: int, levels: int) -> Word:
    """The narrowest of 16 and 32 bits that holds the sum of all clients' slots."""
    return np.uint16 if 2 * clients * WEIGHT * levels < 1 << 16 else np.uint32


@njit(nogil=True)
def _round(delta: NDArray[np.float32], factor: float, limit: int, noise: NDArray[np.uint32], out: Words) -> None:
    """out = clamp(floor(delta·factor + u), ±limit) + limit, u = noise/2³²; the same arithmetic as ours."""
    bound = float(limit)
    for i in range(delta.size):
        value = min(max(np.float64(delta[i]) * factor, -bound), bound)
        out[i] = np.int64(min(np.floor(value + np.float64(noise[i]) * 2.0**-32), bound)) + limit


def quantize(delta: NDArray[np.float32], levels: int, noise_key: bytes, words: Word) -> Words:
    """Slots of one client at the largest weight: (d,)."""
    out = np.empty(delta.size, words)
    encryptor = _stream(noise_key)
    zeros, noise = memoryview(bytes(CHUNK)), np.empty(CHUNK // 4, np.uint32)
    for start in range(0, delta.size, noise.size):
        piece = slice(start, start + noise.size)
        encryptor.update_into(zeros, noise.view(np.uint8).data)
        _round(delta[piece], WEIGHT * levels / CLIP, WEIGHT * levels, noise, out[piece])
    return out


def apply_masks(vector: Words, masks: Sequence[tuple[bytes, int]]) -> None:
    """vector ± masks in place; each mask by its AES-128 key and sign."""
    zeros, buffer = memoryview(bytes(CHUNK)), np.empty(CHUNK, np.uint8)
    pieces = np.split(vector, range(CHUNK // vector.itemsize, vector.size, CHUNK // vector.itemsize))
    for first in range(0, len(masks), STREAMS):
        streams = [(_stream(key), np.add if sign > 0 else np.subtract) for key, sign in masks[first : first + STREAMS]]
        for piece in pieces:
            mask = buffer[: piece.nbytes]
            for encryptor, combine in streams:
                encryptor.update_into(zeros[: piece.nbytes], mask.data)
                combine(piece, mask.view(piece.dtype), out=piece)


def split(secret: bytes, holders: Sequence[int], threshold: int) -> dict[int, Share]:
    """Shamir's shares of 32 bytes, by holder (index from 0)."""
    terms = [
        int.from_bytes(secret, "little"),
        *(int.from_bytes(os.urandom(65), "little") for _ in range(threshold - 1)),
    ]
    return {holder: (holder + 1, _evaluate(terms, holder + 1)) for holder in holders}


def combine(shares: Sequence[Share]) -> bytes:
    """The 32 bytes that these t shares open: Lagrange at 0, with one inversion for all."""
    points = [x for x, _ in shares]
    whole = prod(points)
    # value·∏ x_j / (x·∏ (x_j − x)) over a common denominator: products of small integers, taken mod p once.
    below = [x * prod(other - x for other in points if other != x) % FIELD for x in points]
    top, bottom = 0, 1
    for (_, value), factor in zip(shares, below, strict=True):
        top, bottom = (top * factor + value * bottom) % FIELD, bottom * factor % FIELD
    return (top * whole * pow(bottom, -1, FIELD) % FIELD).to_bytes(66, "little")[:32]


def ring(client: int, clients: int, k: int) -> list[int]:
    """A client's k neighbours. (That places in the ring are drawn at random matters for safety, not for speed.)"""
    return [(client + step) % clients for step in range(-(k // 2), k // 2 + 1) if step]


@dataclass
class Client:
    """One client's secrets, as it draws them, and the shares it holds of others'."""

    index: int
    key: X25519PrivateKey = field(default_factory=X25519PrivateKey.generate, repr=False)
    seed: bytes = field(default_factory=lambda: os.urandom(32), repr=False)
    held: dict[tuple[int, str], Share] = field(default_factory=dict, repr=False)

    @property
    def public(self) -> bytes:
        return self.key.public_key().public_bytes_raw()

    def deal(self, neighbours: Mapping[int, "Client"], threshold: int) -> None:
        """Give every neighbour a share of the seed and of the key."""
        for use, secret in (("seed", self.seed), ("key", self.key.private_bytes_raw())):
            for holder, share in split(secret, list(neighbours), threshold).items():
                neighbours[holder].held[self.index, use] = share

    def mask(self, slots: Words, peers: Mapping[int, bytes]) -> Words:
        """``slots`` masked, in place; ``peers``: neighbours' public keys."""
        apply_masks(slots, [(_own_key(self.seed), 1), *pair_masks(self.index, self.key, peers)])
        return slots


def pair_masks(index: int, key: X25519PrivateKey, peers: Mapping[int, bytes]) -> list[tuple[bytes, int]]:
    """A client's masks with its neighbours, by key and sign."""
    return [
        (_derive(key.exchange(X25519PublicKey.from_public_bytes(public)), b"pair"), 1 if index < peer else -1)
        for peer, public in peers.items()
    ]


def cohort(n: int, plan: Neighbours) -> list[Client]:
    """n clients that have dealt their shares."""
    clients = [Client(index) for index in range(n)]
    for client in clients:
        client.deal({peer: clients[peer] for peer in ring(client.index, n, plan.count)}, plan.threshold)
    return clients


def unmask(total: Words, clients: Sequence[Client], alive: set[int], plan: Neighbours) -> None:
    """The sum of those ``alive`` out of the sum of what they sent, in place; only they are asked for shares."""
    masks: list[tuple[bytes, int]] = []
    for client in range(len(clients)):
        near = [peer for peer in ring(client, len(clients), plan.count) if peer in alive]
        use = "seed" if client in alive else "key"
        secret = combine([clients[peer].held[client, use] for peer in near[: plan.threshold]])
        if client in alive:
            masks.append((_own_key(secret), -1))
        else:
            key = X25519PrivateKey.from_private_bytes(secret)
            masks += pair_masks(client, key, {peer: clients[peer].public for peer in near})
    apply_masks(total, masks)


def _evaluate(terms: Sequence[int], x: int) -> int:
    value = 0
    for term in reversed(terms):
        value = (value * x + term) % FIELD
    return value


def _own_key(seed: bytes) -> bytes:
    return _derive(seed, b"own")


def _derive(secret: bytes, use: bytes) -> bytes:
    return HKDF(SHA256(), 16, salt=None, info=use).derive(secret)


def _stream(key: bytes) -> CipherContext:
    return Cipher(algorithms.AES(key), modes.CTR(bytes(16))).encryptor()
