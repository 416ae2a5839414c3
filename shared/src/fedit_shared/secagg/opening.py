"""From the members' sums of shares to the sum of the secrets, liars taken out."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.parameters import CHECKS, PRIMES, CohortParameters

from .decoding import off_places
from .kernels import combine
from .sharing import evaluate, from_blocks

Words = NDArray[np.uint32]


@dataclass(frozen=True)
class Opened:
    """``key``: uint32 (2, N), or None if the answers do not open it; ``liars``: indices of wrong answers."""

    key: Words | None
    liars: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Candidate:
    """``key``: uint32 (2, N), from answers that agree; only the sum that it opens proves it. ``liars``: identities of
    members whose answers are wrong if it is the key, and whom no report shows to have been dealt a wrong share."""

    key: Words
    liars: frozenset[bytes]


def open_sum(parameters: CohortParameters, answers: Mapping[int, Words]) -> Opened:
    """S from answers, index → uint32 (words,). With m ≥ r of them, ⌊(m − r)/2⌋ liars are found and left out."""
    liars: set[int] = set()
    if len(answers) > parameters.threshold:
        found = _liars(parameters, answers)
        if found is None:
            return Opened(None)
        liars = found
    honest = sorted(set(answers) - liars)
    if len(honest) < parameters.threshold:
        return Opened(None, frozenset(liars))
    points = tuple(honest[: parameters.threshold])
    secret = tuple(-x for x in range(1, parameters.packing + 1))
    key = []
    for prime in range(len(PRIMES)):
        words = np.stack([_half(parameters, answers[k], prime) for k in points])
        part = from_blocks(parameters, evaluate(points, words, secret, prime))
        if part is None:
            return Opened(None, frozenset(liars))
        key.append(part)
    return Opened(np.stack(key), frozenset(liars))


def _liars(parameters: CohortParameters, answers: Mapping[int, Words]) -> set[int] | None:
    """Four random combinations of the blocks a prime, drawn from the hash of all answers, stand for all blocks: a wrong
    word escapes all four with probability (blocks/p)⁴. None if there are more liars than can be told."""
    points = sorted(answers)
    digest = sha256(b"".join(k.to_bytes(4, "little") + answers[k].tobytes() for k in points)).digest()
    liars: set[int] = set()
    for prime, p in enumerate(PRIMES):
        lines = np.empty((len(points), CHECKS), np.uint32)
        for check in range(CHECKS):
            seed = sha256(digest + bytes([prime, check])).digest()
            rho = np.uint64(1 + int.from_bytes(seed, "little") % (p - 1))
            for place, k in enumerate(points):
                lines[place, check] = combine(_half(parameters, answers[k], prime), rho, np.uint64(0), np.uint64(p))
        wrong = off_places(points, lines, parameters.threshold, prime)
        if wrong is None:
            return None
        liars |= {points[place] for place in wrong}
    return liars if 2 * len(liars) <= len(points) - parameters.threshold else None


def _half(parameters: CohortParameters, words: Words, prime: int) -> Words:
    return words[prime * parameters.blocks : (prime + 1) * parameters.blocks]
