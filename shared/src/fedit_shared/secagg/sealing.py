"""Shares sealed to a member: HPKE (RFC 9180), base mode, MLKEM768-X25519, HKDF-SHA-256, AES-256-GCM.

The hybrid KEM keeps recorded traffic closed to a later quantum computer. Sealing draws its own randomness from the
operating system: the one place in this package that does.
"""

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import (
    AEAD,
    KDF,
    KEM,
    MLKEM768X25519PrivateKey,
    MLKEM768X25519PublicKey,
    Suite,
)

from fedit_shared.errors import ProtocolError
from fedit_shared.parameters import CohortParameters

OVERHEAD = 1136
"""Bytes that a packet is longer than its plaintext: 1,120 of encapsulated key, 16 of tag."""
ROUND_SECRET_SIZE = 96
_MLKEM_PUBLIC = 1184
_SUITE = Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM)


def packet_size(parameters: CohortParameters) -> int:
    """Bytes of a sealed packet."""
    return 4 * parameters.packet_words + OVERHEAD


class RoundKey:
    """The HPKE key pair that a device uses for one cohort. Its repr shows nothing secret."""

    def __init__(self, secret: bytes) -> None:
        """``secret``: 96 bytes from the operating system: the ML-KEM seed (64), then the X25519 key (32)."""
        if len(secret) != ROUND_SECRET_SIZE:
            raise ProtocolError(f"A round key's secret has {ROUND_SECRET_SIZE} bytes.")
        kem, curve = MLKEM768PrivateKey.from_seed_bytes(secret[:64]), X25519PrivateKey.from_private_bytes(secret[64:])
        self._key = MLKEM768X25519PrivateKey(kem, curve)
        self.public = kem.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()

    def open(self, packet: bytes, sid: bytes, dealer: bytes, to: bytes) -> bytes | None:
        """The plaintext that ``dealer`` sealed to ``to``; None if this is not such a packet."""
        try:
            return _SUITE.decrypt(packet, self._key, info=_info(sid, dealer, to))
        except (InvalidTag, ValueError):
            return None

    def __repr__(self) -> str:
        return f"RoundKey(public={self.public.hex()[:16]}…)"


def seal(round_key: bytes, plaintext: bytes, sid: bytes, dealer: bytes, to: bytes) -> bytes:
    """``plaintext`` for ``to`` alone, bound to session and dealer; OVERHEAD bytes longer."""
    try:
        return _SUITE.encrypt(plaintext, _public(round_key), info=_info(sid, dealer, to))
    except ValueError as error:
        raise ProtocolError("Nothing can be sealed to this round key.") from error


def check_round_key(round_key: bytes) -> None:
    """Raise ProtocolError unless ``round_key`` parses and a trial seal to it succeeds (X25519 refuses low-order
    points only then)."""
    seal(round_key, b"", bytes(32), bytes(32), bytes(32))


def _public(round_key: bytes) -> MLKEM768X25519PublicKey:
    kem = MLKEM768PublicKey.from_public_bytes(round_key[:_MLKEM_PUBLIC])
    curve = X25519PublicKey.from_public_bytes(round_key[_MLKEM_PUBLIC:])
    return MLKEM768X25519PublicKey(kem, curve)


def _info(sid: bytes, dealer: bytes, to: bytes) -> bytes:
    return b"fedit/1/share\0" + sid + dealer + to
