"""A cohort in memory, once at every start: nothing is served by a machine whose sums are wrong."""

import os
from collections.abc import Callable
from hashlib import sha256

import numpy as np

from fedit_shared.errors import FeditError
from fedit_shared.identity import SigningKey, federation_id
from fedit_shared.messages import ModelRef, Prepare, RoundSettings, TaskSpec, TensorSpec, TrainingSettings, encode
from fedit_shared.parameters import DEGREE
from fedit_shared.quantize import read_mean
from fedit_shared.secagg import (
    Aggregator,
    Contributor,
    Member,
    RoundKey,
    Session,
    Update,
    VectorSum,
    check_vector,
    open_session,
    split_packets,
)
from fedit_shared.secagg.bodies import MusterBody, RosterBody, RosterEntry

_MEMBERS = 7
"""The smallest cohort in which a wrong report can be told."""
_VALUES = 64
_CLIP = 1.0
_NOT_AFTER = 2**40


def self_test() -> None:
    """Raise FeditError unless a cohort's opened sum is the mean that its devices put in."""
    keys = sorted((SigningKey(os.urandom(32)) for _ in range(_MEMBERS)), key=lambda key: key.public)
    round_keys = [RoundKey(os.urandom(96)) for _ in keys]
    session = _session(keys, round_keys)
    updates = [np.random.default_rng().uniform(-_CLIP, _CLIP, _VALUES).astype(np.float32) for _ in keys]
    aggregator, total = Aggregator(session), VectorSum(session)
    packets = {}
    for key, update in zip(keys, updates, strict=True):
        parts: list[bytes] = []
        made = Contributor(session, key).contribute(Update(update, 1, 1.0), os.urandom(32), _keep(parts))
        vector = np.frombuffer(b"".join(parts), "<u4").reshape(session.rows, 2, DEGREE)
        check_vector(session, vector)
        total.add(vector)
        packets[key.public] = split_packets(session, key.public, made.deal, made.signature, made.packets)
        aggregator.add_deal(key.public, made.deal, made.signature)
    receipts = [aggregator.receipts[key.public] for key in keys]
    members = [Member(session, key, round_key) for key, round_key in zip(keys, round_keys, strict=True)]
    prepared = [Prepare(receipts=receipts, packets=[packets[k.public][i] for k in keys]) for i in range(_MEMBERS)]
    for key, member, prepare in zip(keys, members, prepared, strict=True):
        aggregator.add_report(key.public, *member.report(prepare))
    survivors = aggregator.choose_survivors() or b""
    aggregator.offer(survivors)
    digest = sha256(survivors).digest()
    for key, member, prepare in zip(keys, members, prepared, strict=True):
        aggregator.add_vote(key.public, digest, member.vote(prepare, survivors))
    certificate = aggregator.certificate() or b""
    for key, member, prepare in zip(keys, members, prepared, strict=True):
        words, signature = member.answer(prepare, survivors, certificate) or (b"", b"")
        aggregator.add_answer(key.public, digest, words, signature)
    _, slots = total.open(aggregator.open_key(), _MEMBERS)
    mean = read_mean(session.quantizer, slots, _MEMBERS)
    if np.abs(mean.delta - np.mean(updates, axis=0)).max() > _CLIP / session.quantizer.levels:
        raise _broken()


def _session(keys: list[SigningKey], round_keys: list[RoundKey]) -> Session:
    server = SigningKey(os.urandom(32))
    task = encode(
        TaskSpec(
            name="self-test",
            model=ModelRef(id="none"),
            adapter_config="{}",
            tensors=(TensorSpec(name="values", shape=(_VALUES,)),),
            training=TrainingSettings(),
        )
    )
    settings = encode(RoundSettings(model="none", clip=(_CLIP,), not_after=_NOT_AFTER))
    federation, task_hash, adapter = federation_id(server.public), sha256(task).digest(), bytes(32)
    entries = []
    for key, round_key in zip(keys, round_keys, strict=True):
        key_hash = sha256(round_key.public).digest()
        muster = MusterBody(federation, task_hash, 1, adapter, key_hash, 0, _NOT_AFTER).encode()
        entries.append(RosterEntry(key.public, round_key.public, 0, _NOT_AFTER, key.sign("muster", muster)))
    settings_hash = sha256(settings).digest()
    roster = RosterBody(federation, task_hash, 1, bytes(16), adapter, settings_hash, tuple(entries)).encode()
    return open_session(roster, server.sign("roster", roster), settings, task, server_key=server.public)


def _keep(parts: list[bytes]) -> Callable[[memoryview], None]:
    return lambda view: parts.append(bytes(view))


def _broken() -> FeditError:
    return FeditError(
        "The self-test failed: this machine does not add correctly.",
        advice="Nothing was served. Check memory and processor, and the installed numpy and numba.",
    )
