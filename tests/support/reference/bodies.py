"""The bodies that are signed, byte by byte, and HPKE's parts: written from docs/protocol.md alone."""

from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hpke
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from reference.ring import sha, words4

SUITE = hpke.Suite(hpke.KEM.MLKEM768_X25519, hpke.KDF.HKDF_SHA256, hpke.AEAD.AES_256_GCM)


def le(value: int, size: int) -> bytes:
    return value.to_bytes(size, "little")


def sign(seed: bytes, purpose: str, body: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).sign(b"fedit/1/" + purpose.encode() + b"\0" + body)


def identity(seed: bytes) -> bytes:
    return Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()


def federation(server: bytes) -> bytes:
    return sha(b"fedit/1/federation\0" + server)


def enrol(fed: bytes, who: bytes, token: bytes, time: int) -> bytes:
    return fed + who + sha(token) + le(time, 8)


def request(fed: bytes, who: bytes, time: int, nonce: bytes, method: str, path: str, body: bytes) -> bytes:
    return fed + who + le(time, 8) + nonce + sha(f"{method} {path}".encode()) + sha(body)


def checkin(
    fed: bytes, who: bytes, task: bytes, number: int, adapter: bytes, train_until: int, not_after: int
) -> bytes:
    return fed + who + sha(task) + le(number, 8) + sha(adapter) + le(train_until, 8) + le(not_after, 8)


@dataclass(frozen=True)
class Entry:
    identity: bytes
    key: bytes
    floor: int
    not_after: int
    signature: bytes

    def body(self) -> bytes:
        return self.identity + self.key + le(self.floor, 2) + le(self.not_after, 8) + self.signature


@dataclass(frozen=True)
class Round:
    """What names a round: task, adapter and settings as the bytes that are hashed."""

    federation: bytes
    task: bytes
    number: int
    cohort: bytes
    adapter: bytes
    settings: bytes

    def muster(self, key: bytes, floor: int, not_after: int) -> bytes:
        head = self.federation + sha(self.task) + le(self.number, 8) + sha(self.adapter)
        return head + sha(key) + le(floor, 2) + le(not_after, 8)

    def roster(self, entries: list[Entry]) -> bytes:
        head = self.federation + sha(self.task) + le(self.number, 8) + self.cohort
        head += sha(self.adapter) + sha(self.settings) + le(len(entries), 2)
        return head + b"".join(entry.body() for entry in sorted(entries, key=lambda entry: entry.identity))

    def sid(self, roster: bytes) -> bytes:
        head = self.federation + sha(self.task) + le(self.number, 8) + self.cohort
        return sha(b"fedit/1/sid\0" + head + sha(roster) + sha(self.adapter) + sha(self.settings))


def deal(sid: bytes, dealer: bytes, upload: bytes, root: bytes) -> bytes:
    return sid + dealer + sha(upload) + root


def report(values: dict[bytes, tuple[bytes, list[int] | None]]) -> bytes:
    """values: of each dealer but oneself the receipt, and the eight check values or None for an edge."""
    body = b""
    for dealer, (receipt, checks) in sorted(values.items()):
        body += dealer + sha(receipt) + (b"\x00" + bytes(32) if checks is None else b"\x01" + words4(checks))
    return body


def report_body(sid: bytes, member: bytes, report: bytes) -> bytes:
    return sid + member + sha(report)


def survivors(receipts: dict[bytes, bytes]) -> bytes:
    return b"".join(dealer + sha(receipt) for dealer, receipt in sorted(receipts.items()))


def vote(sid: bytes, chosen: bytes) -> bytes:
    return sid + sha(chosen)


def certificate(votes: dict[bytes, bytes]) -> bytes:
    return b"".join(voter + signature for voter, signature in sorted(votes.items()))


def answer(sid: bytes, chosen: bytes, k: int, words: list[int]) -> bytes:
    return sid + sha(chosen) + le(k, 4) + sha(words4(words))


def result(sid: bytes, number: int, outcome: int, chosen: bytes, adapter: bytes, total: int) -> bytes:
    return sid + le(number, 8) + le(outcome, 1) + sha(chosen) + sha(adapter) + le(total, 8)


def floor(n: int, own: list[int]) -> int:
    return max([n // 3 + 2, n // 2 + 1, *own])


# HPKE


def round_key(mlkem_seed: bytes, x25519_seed: bytes) -> hpke.MLKEM768X25519PrivateKey:
    kem = MLKEM768PrivateKey.from_seed_bytes(mlkem_seed)
    return hpke.MLKEM768X25519PrivateKey(kem, X25519PrivateKey.from_private_bytes(x25519_seed))


def round_key_bytes(mlkem_seed: bytes, x25519_seed: bytes) -> bytes:
    kem = MLKEM768PrivateKey.from_seed_bytes(mlkem_seed).public_key().public_bytes_raw()
    return kem + X25519PrivateKey.from_private_bytes(x25519_seed).public_key().public_bytes_raw()


def packet_info(sid: bytes, dealer: bytes, to: bytes) -> bytes:
    return b"fedit/1/share\0" + sid + dealer + to


def seal(plaintext: bytes, key: bytes, info: bytes) -> bytes:
    public = hpke.MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(key[:1184]), X25519PublicKey.from_public_bytes(key[1184:])
    )
    return SUITE.encrypt(plaintext, public, info)


def unseal(packet: bytes, key: hpke.MLKEM768X25519PrivateKey, info: bytes) -> bytes | None:
    """The plaintext, or None where the packet does not open."""
    try:
        return SUITE.decrypt(packet, key, info)
    except InvalidTag:
        return None
