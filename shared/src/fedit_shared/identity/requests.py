"""Requests signed by the device that makes them, so that no session and no password has to be kept.

The token goes into the header ``Authorization: Fedit …``. It binds method, path and body, and is good for two minutes;
a server that remembers the nonces of that time refuses a replay.
"""

import base64
import binascii
import hashlib
import struct
from typing import NamedTuple

from fedit_shared.errors import ProtocolError, UnauthorizedError

from .keys import SIGNATURE_SIZE, PublicKey, SigningKey, public_key, verify

SCHEME = "Fedit"
LIFETIME = 120
"""Seconds that a request may be older or newer than the server's clock."""

_ADVICE = "Join with `fedit-client join LINK`."
_FIXED = struct.Struct("<32sQ16s")


class RequestToken(NamedTuple):
    """Who asks, when (Unix seconds), and a number used once."""

    identity: PublicKey
    time: int
    nonce: bytes


def sign_request(
    key: SigningKey, federation: bytes, method: str, path: str, body: bytes, *, time: int, nonce: bytes
) -> str:
    """The header's value for one request. ``path`` includes the query; ``nonce``: 16 fresh random bytes."""
    fixed = _FIXED.pack(key.public, time, nonce)
    signature = key.sign("request", _body(federation, fixed, method, path, body))
    return f"{SCHEME} {base64.urlsafe_b64encode(fixed + signature).decode()}"


def verify_request(header: str, federation: bytes, method: str, path: str, body: bytes, *, now: int) -> RequestToken:
    """Who signed this request. Raises UnauthorizedError for no token, a stale one, or one of another request."""
    scheme, _, encoded = header.partition(" ")
    try:
        raw = base64.b64decode(encoded, altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if scheme != SCHEME or len(raw) != _FIXED.size + SIGNATURE_SIZE:
        raise UnauthorizedError("This request is not signed by a device.", advice=_ADVICE)
    fixed, signature = raw[: _FIXED.size], raw[_FIXED.size :]
    identity, time, nonce = _FIXED.unpack(fixed)
    try:
        verify(identity, "request", _body(federation, fixed, method, path, body), signature)
    except ProtocolError as error:
        raise UnauthorizedError("This request is not what its device signed.", advice=_ADVICE) from error
    if abs(time - now) > LIFETIME:
        raise UnauthorizedError(
            f"This request was signed {abs(time - now)} s {'before' if time < now else 'after'} the server's time.",
            advice="Set this machine's clock (by network time), then try again.",
        )
    return RequestToken(public_key(identity), time, nonce)


def _body(federation: bytes, fixed: bytes, method: str, path: str, body: bytes) -> bytes:
    target = hashlib.sha256(f"{method} {path}".encode(errors="surrogateescape")).digest()
    return federation + fixed + target + hashlib.sha256(body).digest()
