"""Signatures and round keys that were found good or bad once are not checked again in the same schedule.

All devices of a simulation live in one interpreter and check the same signatures, each for itself. Whether bytes verify
is a function of the bytes alone, so remembering it changes no outcome.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from fedit_shared.identity import keys
from fedit_shared.secagg import sealing

_verified: dict[tuple[bytes, bytes, bytes], bool] = {}
_parsed: dict[bytes, "RememberedKey"] = {}
_sealed: set[bytes] = set()
_real_seal = sealing.seal


class RememberedKey:
    """An Ed25519 public key whose verdicts are kept."""

    def __init__(self, raw: bytes) -> None:
        self._raw = raw
        self._key = Ed25519PublicKey.from_public_bytes(raw)

    @classmethod
    def from_public_bytes(cls, raw: bytes) -> "RememberedKey":
        """Raises ValueError as cryptography does."""
        if raw not in _parsed:
            _parsed[raw] = cls(raw)
        return _parsed[raw]

    def verify(self, signature: bytes, data: bytes) -> None:
        """Raises InvalidSignature as cryptography does."""
        what = self._raw, signature, data
        good = _verified.get(what)
        if good is None:
            try:
                self._key.verify(signature, data)
                good = True
            except InvalidSignature:
                good = False
            _verified[what] = good
        if not good:
            raise InvalidSignature


def _seal(round_key: bytes, plaintext: bytes, sid: bytes, dealer: bytes, to: bytes) -> bytes:
    """As the real one; a trial seal of nothing to a key that has passed one is not done again."""
    if plaintext:
        return _real_seal(round_key, plaintext, sid, dealer, to)
    if round_key not in _sealed:
        _real_seal(round_key, plaintext, sid, dealer, to)
        _sealed.add(round_key)
    return b""


def install() -> None:
    """Put the memory in front of cryptography, for the whole interpreter."""
    keys.Ed25519PublicKey = RememberedKey  # type: ignore[misc,assignment]
    sealing.seal = _seal


def forget() -> None:
    """Between schedules."""
    _verified.clear()
    _parsed.clear()
    _sealed.clear()
