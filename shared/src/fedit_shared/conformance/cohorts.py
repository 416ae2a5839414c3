"""A file's cohort, as the cases of :mod:`.members` and :mod:`.sums` share it.

Their inputs, ``given`` for a whole file: ``server_key``; ``task`` and ``settings`` as they travel; ``roster``,
``roster_signature``; ``devices``, in order of the roster, each with ``seed`` (Ed25519), ``round_secret``,
``randomness`` (32 bytes), ``delta`` (float32), ``examples``, ``loss``. Devices are named by their place k, from 1.
"""

import json
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from fedit_shared.identity import SigningKey
from fedit_shared.parameters import DEGREE
from fedit_shared.secagg import Contribution, Contributor, RoundKey, Session, Update, open_session
from fedit_shared.secagg.sealing import packet_size

from .values import Inputs, words


@dataclass(frozen=True)
class Device:
    """What a device knows of itself."""

    key: SigningKey
    round_key: RoundKey
    randomness: bytes
    update: Update


@dataclass(frozen=True)
class Contributed:
    """``upload`` uint32 (rows, 2, N); ``plaintexts``: those of its packets, in order of the roster, as opened."""

    upload: NDArray[np.uint32]
    contribution: Contribution
    plaintexts: list[bytes]


@lru_cache(maxsize=64)
def _opened(roster: bytes, signature: bytes, settings: bytes, task: bytes, server_key: bytes) -> Session:
    return open_session(roster, signature, settings, task, server_key=server_key)


def session_of(given: Inputs) -> Session:
    """The session that the inputs describe, or the error that it is refused with."""
    return _opened(
        given.raw("roster"),
        given.raw("roster_signature"),
        given.raw("settings"),
        given.raw("task"),
        given.raw("server_key"),
    )


def device_of(given: Inputs, place: int) -> Device:
    """The device at a place of the roster."""
    own = given.parts("devices")[place - 1]
    delta = np.frombuffer(own.raw("delta"), "<f4")
    return Device(
        SigningKey(own.raw("seed")),
        RoundKey(own.raw("round_secret")),
        own.raw("randomness"),
        Update(delta, own.integer("examples"), own.number("loss")),
    )


_CONTRIBUTED: dict[tuple[bytes, int, str], Contributed] = {}


def contributed(given: Inputs, place: int) -> Contributed:
    """What a device uploads and deals, its packets opened by those they are for; computed once for a session."""
    session = session_of(given)
    name = session.sid, place, json.dumps(given.value("devices"))
    if name not in _CONTRIBUTED:
        _CONTRIBUTED[name] = _contribute(session, given, place)
    return _CONTRIBUTED[name]


def _contribute(session: Session, given: Inputs, place: int) -> Contributed:
    device, parts = device_of(given, place), list[bytes]()
    contribution = Contributor(session, device.key).contribute(
        device.update, device.randomness, lambda view: parts.append(bytes(view))
    )
    upload = words(b"".join(parts)).reshape(session.rows, 2, DEGREE)
    size, plaintexts = packet_size(session.parameters), []
    for k, identity in enumerate(session.identities):
        packet = contribution.packets[k * size : (k + 1) * size]
        opener = device_of(given, k + 1).round_key
        plaintexts.append(opener.open(packet, session.sid, device.key.public, identity) or b"")
    return Contributed(upload, contribution, plaintexts)
