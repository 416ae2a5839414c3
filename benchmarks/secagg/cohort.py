"""A whole cohort of ours in memory: signed roster, contributions, votes, answers."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from fedit_shared.identity import SigningKey, federation_id
from fedit_shared.messages import (
    ModelRef,
    Prepare,
    RoundSettings,
    TaskSpec,
    TensorSpec,
    TrainingSettings,
    encode,
)
from fedit_shared.parameters import RECORDS_PER_WEIGHT
from fedit_shared.secagg import (
    ROUND_SECRET_SIZE,
    Aggregator,
    Contribution,
    Contributor,
    Member,
    RoundKey,
    Session,
    Update,
    open_session,
    split_packets,
)
from fedit_shared.secagg.bodies import MusterBody, RosterBody, RosterEntry, Survivor, encode_survivors, receipt_hash

from .scenario import CLIP, SLOT_BITS, SPREAD, WEIGHT

NOT_AFTER = 4_000_000_000


@dataclass(frozen=True)
class Device:
    """One member: its keys, and the randomness of its one contribution."""

    key: SigningKey
    round_key: RoundKey
    randomness: bytes


def update(dimension: int) -> Update:
    """An update whose weight is the largest."""
    delta = np.random.default_rng(dimension).standard_normal(dimension, np.float32)
    delta *= SPREAD
    return Update(delta, WEIGHT * RECORDS_PER_WEIGHT, 1.0)


def synthetic(members: int, dimension: int) -> "Cohort":
    """A cohort on one tensor of ``dimension`` values."""
    task = TaskSpec(
        name="benchmark",
        model=ModelRef(id="none"),
        adapter_config="{}",
        tensors=(TensorSpec(name="all", shape=(dimension,)),),
        training=TrainingSettings(),
        max_weight=WEIGHT,
    )
    settings = RoundSettings(model="none", clip=(CLIP,), slot_bits=SLOT_BITS, max_weight=WEIGHT, not_after=NOT_AFTER)
    return Cohort(members, task, settings)


class Cohort:
    """``members`` devices with fresh keys. ``adapter``: hash of the version that they trained; ``random``: where all
    randomness comes from."""

    def __init__(
        self,
        members: int,
        task_spec: TaskSpec,
        round_settings: RoundSettings,
        *,
        round_: int = 1,
        adapter: bytes = sha256(b"adapter").digest(),
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        server = SigningKey(random(32))
        federation = federation_id(server.public)
        task, settings = encode(task_spec), encode(round_settings)
        devices = [
            Device(SigningKey(random(32)), RoundKey(random(ROUND_SECRET_SIZE)), random(32)) for _ in range(members)
        ]
        self.devices = sorted(devices, key=lambda device: device.key.public)
        entries = []
        for device in self.devices:
            muster = MusterBody(
                federation,
                sha256(task).digest(),
                round_,
                adapter,
                sha256(device.round_key.public).digest(),
                3,
                NOT_AFTER,
            )
            signature = device.key.sign("muster", muster.encode())
            entries.append(RosterEntry(device.key.public, device.round_key.public, 3, NOT_AFTER, signature))
        roster = RosterBody(
            federation,
            sha256(task).digest(),
            round_,
            random(16),
            adapter,
            sha256(settings).digest(),
            tuple(entries),
        ).encode()
        self._opening = (roster, server.sign("roster", roster), settings, task)
        self._server_key = server.public

    @cached_property
    def session(self) -> Session:
        """Checked as a client and the server check it."""
        return open_session(*self._opening, server_key=self._server_key)

    def contribute(self, device: Device, update: Update, sink: Callable[[memoryview], object]) -> Contribution:
        """One device's masked vector, into ``sink``, and its deal."""
        return Contributor(self.session, device.key).contribute(update, device.randomness, sink)

    def upload(self, device: Device, update: Update) -> tuple[NDArray[np.uint32], Contribution]:
        """One device's masked vector in memory, uint32 (rows, 2, N), and its deal."""
        parts = bytearray()
        contribution = self.contribute(device, update, parts.extend)
        return np.frombuffer(parts, "<u4").reshape(self.session.rows, 2, -1), contribution

    def answered(self, contributions: Sequence[Contribution]) -> Aggregator:
        """The server once the first devices, so many as ``contributions``, have dealt and r of them have answered."""
        session, aggregator = self.session, Aggregator(self.session)
        dealers = self.devices[: len(contributions)]
        prepared = []
        for device, part in zip(dealers, contributions, strict=True):
            aggregator.add_deal(device.key.public, part.deal, part.signature)
            prepared.append(split_packets(session, device.key.public, part.deal, part.signature, part.packets))
        receipts = [aggregator.receipts[device.key.public] for device in dealers]
        chosen = encode_survivors([Survivor(r.identity, receipt_hash(r.body, r.signature)) for r in receipts])
        aggregator.offer(chosen)
        digest = sha256(chosen).digest()
        members = []
        for k, device in enumerate(dealers[: session.parameters.threshold]):
            prepare = Prepare(receipts=receipts, packets=[packets[k] for packets in prepared])
            members.append((device, Member(session, device.key, device.round_key), prepare))
        for device, member, prepare in members:
            aggregator.add_vote(device.key.public, digest, member.vote(prepare, chosen))
        certificate = aggregator.certificate() or b""
        for device, member, prepare in members:
            words, signature = member.answer(prepare, chosen, certificate) or (b"", b"")
            aggregator.add_answer(device.key.public, digest, words, signature)
        return aggregator
