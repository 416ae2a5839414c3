"""A cohort from musters to mean by the reference: what the cases of cohort_cases.py are made of."""

import struct
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import msgspec
from reference import bodies, quantization, ring, sharing
from reference.ring import N, sha
from writing import plain, seeded

NOT_AFTER = 2_000_000_000


@dataclass(frozen=True)
class Shape:
    """``shown``: the members whose packets the file holds; ``floors``: of the devices, by place."""

    members: int
    bits: int
    dimension: int
    shown: tuple[int, ...]
    floors: dict[int, int] = field(default_factory=dict)


SHAPES = {
    "cohort-3": Shape(3, 24, 8190, (1, 2, 3)),
    "cohort-5": Shape(5, 16, 100, (2,), {4: 4}),
    "cohort-10": Shape(10, 12, 90, (4,)),
}


@dataclass(frozen=True)
class Device:
    seed: bytes
    round_secret: bytes
    randomness: bytes
    pattern: bytes
    examples: int
    loss: float
    floor: int

    @property
    def identity(self) -> bytes:
        return bodies.identity(self.seed)

    @property
    def round_key(self) -> bytes:
        return bodies.round_key_bytes(self.round_secret[:64], self.round_secret[64:])


class Cohort:
    """``kept``: the file as it was, for the sealed packets in it."""

    def __init__(self, shape: Shape, kept: dict[str, Any] | None) -> None:
        n, d = shape.members, shape.dimension
        self.shape, self.places = shape, range(1, n + 1)
        self.server_seed = seeded("server")
        self.server = bodies.identity(self.server_seed)
        self.sizes, self.clip, self.heaviest = (d // 3, d - d // 3), (0.01, 0.02), 16
        tensors = [{"name": "a", "shape": [self.sizes[0]]}, {"name": "b", "shape": [self.sizes[1], 1]}]
        self.task = msgspec.msgpack.encode(
            {"name": "vectors", "model": {"id": "tiny"}, "adapter_config": "{}", "tensors": tensors, "training": {}}
            | {"max_weight": self.heaviest}
        )
        self.settings = self.settings_with()
        federation = bodies.federation(self.server)
        self.round = bodies.Round(federation, self.task, 7, seeded("cohort", n, size=16), b"adapter", self.settings)
        made = sorted((self._device(i) for i in range(n)), key=lambda device: device.identity)
        self.devices = [
            Device(**{**vars(device), "floor": shape.floors.get(k, 3)}) for k, device in enumerate(made, start=1)
        ]
        self.identities = [device.identity for device in self.devices]
        self.entries = [self.entry(device) for device in self.devices]
        self.roster = self.round.roster(self.entries)
        self.sid = self.round.sid(self.roster)
        self.floor = bodies.floor(n, [device.floor for device in self.devices])
        self.bits, self.per = shape.bits, 48 // shape.bits
        self.step = quantization.levels(shape.bits, n, self.heaviest)
        self.ranges = list(zip(self.sizes, self.clip, strict=True))
        self.clips = quantization.spread(self.ranges)
        self.packets, self.leaves = self._seal_all(kept)
        self._checks: dict[tuple[int, int], list[int]] = {}
        self.receipts = {k: self.receipt(k, self.leaves[k]) for k in self.places}

    def settings_with(self, **changed: Any) -> bytes:
        fields = {"model": "tiny", "clip": self.clip, "slot_bits": self.shape.bits, "max_weight": self.heaviest}
        return msgspec.msgpack.encode(fields | {"not_after": NOT_AFTER} | changed)

    def _device(self, i: int) -> Device:
        n = self.shape.members
        values = struct.pack("<17f", *(0.0015 * ((7 * k + 5 * i) % 17 - 8) for k in range(17)))
        secrets = [seeded(name, n, i) for name in ("identity", "randomness")]
        secret = seeded("round", n, i, size=96)
        return Device(secrets[0], secret, secrets[1], values, 100 * i + 1, 1.25 + i / 4, 3)

    def entry(self, device: Device, elsewhere: bodies.Round | None = None) -> bodies.Entry:
        muster = (elsewhere or self.round).muster(device.round_key, device.floor, NOT_AFTER)
        signature = bodies.sign(device.seed, "muster", muster)
        return bodies.Entry(device.identity, device.round_key, device.floor, NOT_AFTER, signature)

    def sign_roster(self, roster: bytes) -> bytes:
        return bodies.sign(self.server_seed, "roster", roster)

    # Contributions

    @cached_property
    def slots(self) -> list[list[int]]:
        return [self._slots(device) for device in self.devices]

    def _slots(self, device: Device) -> list[int]:
        d = self.shape.dimension
        values = list(struct.unpack(f"<{d}f", (device.pattern * d)[: 4 * d]))
        rows = range(quantization.row_count(d, self.per))
        words = [w for row in rows for w in ring.rounding_words(device.randomness, self.sid, row, self.per)]
        weight = quantization.weight(device.examples, self.heaviest)
        return quantization.slots(values, self.ranges, device.loss, weight, self.step, words)

    def clipped(self, k: int) -> float:
        d, pattern = self.shape.dimension, self.devices[k - 1].pattern
        return quantization.outside(list(struct.unpack(f"<{d}f", (pattern * d)[: 4 * d])), self.ranges)

    @cached_property
    def uploads(self) -> list[bytes]:
        pairs = zip(self.devices, self.slots, strict=True)
        return [ring.mask(d.randomness, self.sid, quantization.pack(s, self.bits, self.per)) for d, s in pairs]

    @cached_property
    def plaintexts(self) -> list[list[bytes]]:
        """By dealer, then by member."""
        return [sharing.plaintexts(device.randomness, self.sid, self.shape.members) for device in self.devices]

    def _seal_all(self, kept: dict[str, Any] | None) -> tuple[dict[tuple[int, int], bytes], dict[int, list[bytes]]]:
        """Packets to the members that are shown, by (dealer, member), and every dealer's leaves. Of the packets to
        others there is only the leaf: nobody needs them."""
        given = (kept or {}).get("given", {})
        same = given.get("roster") == self.roster.hex() and given.get("devices") == plain(self.device_inputs())
        packets: dict[tuple[int, int], bytes] = {}
        leaves: dict[int, list[bytes]] = {}
        for dealer in self.places:
            leaves[dealer] = [bytes.fromhex(leaf) for leaf in given["leaves"][dealer - 1]] if same else []
            for member in self.places:
                plaintext, shown = self.plaintexts[dealer - 1][member - 1], member in self.shape.shown
                if same and shown:
                    entry = bytes.fromhex(given["packets"][str(member)][dealer - 1])
                    packet = entry[: len(plaintext) + 1136]
                    assert self.opened(packet, dealer, member) == plaintext, "a kept packet is wrong: delete the file"
                elif not same:
                    packet = self.seal(plaintext, dealer, member)
                    leaves[dealer].append(sharing.leaf(member, self.identities[member - 1], packet))
                if shown:
                    packets[dealer, member] = packet
        return packets, leaves

    def seal(self, plaintext: bytes, dealer: int, member: int) -> bytes:
        info = bodies.packet_info(self.sid, self.identities[dealer - 1], self.identities[member - 1])
        return bodies.seal(plaintext, self.devices[member - 1].round_key, info)

    def opened(self, packet: bytes, dealer: int, member: int) -> bytes | None:
        secret = self.devices[member - 1].round_secret
        info = bodies.packet_info(self.sid, self.identities[dealer - 1], self.identities[member - 1])
        return bodies.unseal(packet, bodies.round_key(secret[:64], secret[64:]), info)

    def proof(self, dealer: int, member: int) -> bytes:
        return sharing.proof(self.leaves[dealer], member)

    def receipt(self, dealer: int, leaves: list[bytes]) -> dict[str, bytes]:
        device = self.devices[dealer - 1]
        deal = bodies.deal(self.sid, device.identity, self.uploads[dealer - 1], sharing.tree(leaves)[-1][0])
        return {"identity": device.identity, "deal": deal, "signature": bodies.sign(device.seed, "deal", deal)}

    # What members say

    def checks(self, dealer: int, member: int) -> list[int]:
        if (dealer, member) not in self._checks:
            words = ring.split4(self.plaintexts[dealer - 1][member - 1])
            self._checks[dealer, member] = sharing.check_values(words, self.receipts[dealer]["deal"])
        return self._checks[dealer, member]

    def report(self, member: int, changed: dict[int, list[int] | None] | None = None) -> bytes:
        """``changed``: what is said of some dealers instead of the truth."""
        said: dict[int, list[int] | None] = {k: self.checks(k, member) for k in self.places if k != member}
        said |= changed or {}
        return bodies.report({self.identities[k - 1]: (self.whole(k), values) for k, values in said.items()})

    def whole(self, dealer: int) -> bytes:
        receipt = self.receipts[dealer]
        return receipt["deal"] + receipt["signature"]

    def sign_report(self, member: int, report: bytes) -> bytes:
        device = self.devices[member - 1]
        return bodies.sign(device.seed, "report", bodies.report_body(self.sid, device.identity, report))

    def survivors(self, dealers: list[int]) -> bytes:
        return bodies.survivors({self.identities[k - 1]: self.whole(k) for k in dealers})

    def vote(self, member: int, chosen: bytes) -> bytes:
        return bodies.sign(self.devices[member - 1].seed, "vote", bodies.vote(self.sid, chosen))

    def certificate(self, voters: list[int], chosen: bytes) -> bytes:
        return bodies.certificate({self.identities[k - 1]: self.vote(k, chosen) for k in voters})

    def answer(self, member: int, dealers: list[int]) -> list[int]:
        packets = [ring.split4(self.plaintexts[k - 1][member - 1]) for k in dealers]
        return sharing.answer_words(packets, self.shape.members)

    def sign_answer(self, member: int, chosen: bytes, words: list[int]) -> bytes:
        body = bodies.answer(self.sid, chosen, member, words)
        return bodies.sign(self.devices[member - 1].seed, "answer", body)

    def secret_sum(self, dealers: list[int]) -> ring.Element:
        secrets = [ring.secret(self.devices[k - 1].randomness, self.sid) for k in dealers]
        halves = [[sum(column) % ring.P[i] for column in zip(*(s[i] for s in secrets), strict=True)] for i in (0, 1)]
        return halves[0], halves[1]

    def unmasked(self, dealers: list[int]) -> list[int]:
        """Sums of all slots, padding included."""
        rows = ring.unmask(self.sid, [self.uploads[k - 1] for k in dealers], self.secret_sum(dealers))
        sums = quantization.unpack(rows, self.bits, self.per)
        count = self.shape.dimension + 3
        assert sums[:count] == [sum(column) for column in zip(*(self.slots[k - 1] for k in dealers), strict=True)]
        return sums

    def place(self, slot: int) -> tuple[int, int, int]:
        """Row, coefficient and factor of a slot."""
        inside = slot % (N * self.per)
        return slot // (N * self.per), inside % N, 1 << self.bits * (inside // N)

    # What the file gives

    def device_inputs(self) -> list[dict[str, Any]]:
        size = 4 * self.shape.dimension
        return [
            {
                "seed": device.seed,
                "round_secret": device.round_secret,
                "randomness": device.randomness,
                "delta": {"repeat": device.pattern.hex(), "size": size},
                "examples": device.examples,
                "loss": device.loss,
            }
            for device in self.devices
        ]

    def given(self) -> dict[str, Any]:
        return {
            "server_seed": self.server_seed,
            "server_key": self.server,
            "task": self.task,
            "settings": self.settings,
            "adapter": sha(self.round.adapter),
            "roster": self.roster,
            "roster_signature": self.sign_roster(self.roster),
            "devices": self.device_inputs(),
            "leaves": [self.leaves[k] for k in self.places],
            "receipts": [self.receipts[k] for k in self.places],
            "packets": {str(k): [self.packets[i, k] + self.proof(i, k) for i in self.places] for k in self.shape.shown},
        }
