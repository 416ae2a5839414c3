"""A cohort in memory: devices, a signed roster, and what each says, for tests of the protocol."""

from dataclasses import dataclass
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
from fedit_shared.parameters import DEGREE
from fedit_shared.secagg import (
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
from fedit_shared.secagg.bodies import MusterBody, RosterBody, RosterEntry

NOT_AFTER = 2_000_000_000
SERVER = SigningKey(sha256(b"server").digest())


def seeded(*parts: object, size: int = 32) -> bytes:
    """Bytes that depend on ``parts`` alone."""
    seed = sha256(repr(parts).encode()).digest()
    return b"".join(sha256(seed + bytes([i])).digest() for i in range(-(-size // 32)))[:size]


@dataclass
class Device:
    """One participant."""

    key: SigningKey
    round_key: RoundKey
    update: Update
    randomness: bytes
    floor: int = 3

    @property
    def identity(self) -> bytes:
        return bytes(self.key.public)


@dataclass
class Upload:
    """What one device sent: its masked vector, uint32 (rows, 2, N), and the rest."""

    vector: NDArray[np.uint32]
    contribution: Contribution
    prepared: list[bytes]


class Cohort:
    """``size`` devices on a task of two tensors, of a third and two thirds of ``dimension``; everything follows from
    ``seed``."""

    def __init__(
        self,
        size: int,
        seed: object = 0,
        *,
        dimension: int = 100,
        clip: float = 0.01,
        slot_bits: int = 16,
        max_weight: int = 16,
        round_: int = 1,
        strategy: str = "fedavg",
    ) -> None:
        rng = np.random.default_rng(np.frombuffer(seeded(size, seed), np.uint32))
        first = dimension // 3
        a, b = ("a", "b") if strategy == "fedavg" else ("q.lora_A.weight", "q.lora_B.weight")
        task = TaskSpec(
            name="test",
            model=ModelRef(id="tiny"),
            adapter_config="{}",
            tensors=(TensorSpec(name=a, shape=(first,)), TensorSpec(name=b, shape=(dimension - first, 1))),
            training=TrainingSettings(),
            strategy=strategy,
            max_weight=max_weight,
        )
        self.task = encode(task)
        self.settings = encode(
            RoundSettings(
                model="tiny",
                clip=(clip, 2 * clip),
                slot_bits=slot_bits,
                max_weight=max_weight,
                not_after=NOT_AFTER,
            )
        )
        self.round = round_
        self.cohort = seeded("cohort", seed, size=16)
        self.adapter = sha256(b"adapter").digest()
        self.devices = sorted(
            (
                Device(
                    SigningKey(seeded("identity", seed, i)),
                    RoundKey(seeded("round key", seed, i, size=96)),
                    Update(
                        rng.normal(0, clip, task.turn(round_).dimension).astype(np.float32),
                        int(rng.integers(1, 600)),
                        float(rng.uniform(0, 4)),
                    ),
                    seeded("randomness", seed, i),
                )
                for i in range(size)
            ),
            key=lambda device: device.identity,
        )
        self.federation = federation_id(SERVER.public)

    def muster(self, device: Device) -> MusterBody:
        return MusterBody(
            self.federation,
            sha256(self.task).digest(),
            self.round,
            self.adapter,
            sha256(device.round_key.public).digest(),
            device.floor,
            NOT_AFTER,
        )

    def entry(self, device: Device) -> RosterEntry:
        signature = device.key.sign("muster", self.muster(device).encode())
        return RosterEntry(device.identity, device.round_key.public, device.floor, NOT_AFTER, signature)

    def roster(self) -> RosterBody:
        return RosterBody(
            self.federation,
            sha256(self.task).digest(),
            self.round,
            self.cohort,
            self.adapter,
            sha256(self.settings).digest(),
            tuple(self.entry(device) for device in self.devices),
        )

    def session(self, roster: RosterBody | None = None) -> Session:
        body = (roster or self.roster()).encode()
        return open_session(body, SERVER.sign("roster", body), self.settings, self.task, server_key=SERVER.public)

    def upload(self, session: Session, device: Device) -> Upload:
        parts: list[bytes] = []
        contribution = Contributor(session, device.key).contribute(
            device.update, device.randomness, lambda view: parts.append(bytes(view))
        )
        vector = np.frombuffer(b"".join(parts), "<u4").reshape(session.rows, 2, DEGREE)
        prepared = split_packets(
            session, device.identity, contribution.deal, contribution.signature, contribution.packets
        )
        return Upload(vector, contribution, prepared)

    def uploads(self, session: Session) -> dict[bytes, Upload]:
        return {device.identity: self.upload(session, device) for device in self.devices}

    def member(self, session: Session, device: Device) -> Member:
        return Member(session, device.key, device.round_key)


def deal_all(aggregator: Aggregator, uploads: dict[bytes, Upload]) -> None:
    """Everybody's deal reaches the server."""
    for identity, upload in uploads.items():
        aggregator.add_deal(identity, upload.contribution.deal, upload.contribution.signature)


def prepare_for(aggregator: Aggregator, uploads: dict[bytes, Upload], identity: bytes) -> Prepare:
    """What the server sends to one member after contributions closed."""
    place = aggregator.session.index(identity) - 1
    dealers = sorted(aggregator.receipts)
    return Prepare(
        receipts=[aggregator.receipts[dealer] for dealer in dealers],
        packets=[uploads[dealer].prepared[place] for dealer in dealers],
    )
