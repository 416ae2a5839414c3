"""Ed25519 keys, and signatures that cannot be mistaken for one of another purpose."""

import hashlib
from functools import lru_cache
from typing import Literal, NewType

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from fedit_shared.errors import ForgedError, ProtocolError

PublicKey = NewType("PublicKey", bytes)
"""An Ed25519 public key, 32 bytes, checked by :func:`public_key`. It is a device's name everywhere."""

Purpose = Literal["enrol", "request", "checkin", "muster", "roster", "deal", "report", "vote", "answer", "result"]

SIGNATURE_SIZE = 64
_FIELD_PRIME = 2**255 - 19
_CURVE_D = -121665 * pow(121666, -1, _FIELD_PRIME) % _FIELD_PRIME
_ORDER_EIGHT_Y = tuple(
    int.from_bytes(bytes.fromhex(encoded), "little")
    for encoded in (
        "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    )
)
# The y coordinates of the eight points of small order (RFC 8032 curve); a signature under such a key verifies for
# messages that nobody signed.
_SMALL_ORDER_Y = frozenset({0, 1, _FIELD_PRIME - 1, *_ORDER_EIGHT_Y})


class SigningKey:
    """An Ed25519 private key. Its repr shows the public key only."""

    def __init__(self, seed: bytes) -> None:
        """``seed``: 32 secret bytes from the operating system, or as kept by :meth:`seed`."""
        self._key = Ed25519PrivateKey.from_private_bytes(seed)
        self.public = PublicKey(self._key.public_key().public_bytes_raw())

    def seed(self) -> bytes:
        """The 32 secret bytes, to be stored in a file that only its owner can read."""
        return self._key.private_bytes_raw()

    def sign(self, purpose: Purpose, body: bytes) -> bytes:
        """The 64-byte signature over ``"fedit/1/" ‖ purpose ‖ 0x00 ‖ body``."""
        return self._key.sign(_signed(purpose, body))

    def __repr__(self) -> str:
        return f"SigningKey(public={self.public.hex()[:16]}…)"


def public_key(raw: bytes) -> PublicKey:
    """``raw`` as a key that can be trusted to mean one person.

    Raises ProtocolError for a wrong length, an encoding that is not canonical, no point of the curve, or a point of
    small order.
    """
    y = int.from_bytes(raw, "little") & (2**255 - 1)
    if len(raw) != 32 or y >= _FIELD_PRIME or y in _SMALL_ORDER_Y or not _on_curve(y):
        raise ProtocolError("This is not a usable Ed25519 public key.")
    return PublicKey(raw)


def verify(key: bytes, purpose: Purpose, body: bytes, signature: bytes) -> None:
    """Return if ``signature`` is ``key``'s over ``body`` for ``purpose``; else raise ForgedError."""
    checked = public_key(key)
    try:
        Ed25519PublicKey.from_public_bytes(checked).verify(signature, _signed(purpose, body))
    except InvalidSignature as error:
        raise ForgedError(f"The signature of this {purpose} message is not its sender's.") from error


def federation_id(server_key: bytes) -> bytes:
    """The 32 bytes that name a federation: its server's signing key, hashed."""
    return hashlib.sha256(b"fedit/1/federation\0" + public_key(server_key)).digest()


@lru_cache(maxsize=4096)
def _on_curve(y: int) -> bool:
    """Whether some point has this y: x² = (y² − 1)/(d·y² + 1), RFC 8032, 5.1.3. OpenSSL looks only when it verifies."""
    ratio = (y * y - 1) * (_CURVE_D * y * y + 1)
    return pow(ratio, (_FIELD_PRIME - 1) // 2, _FIELD_PRIME) == 1


def _signed(purpose: Purpose, body: bytes) -> bytes:
    return b"fedit/1/" + purpose.encode() + b"\0" + body
