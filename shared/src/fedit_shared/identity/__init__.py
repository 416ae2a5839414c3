"""Who is who: Ed25519 device keys, signatures with a purpose, signed requests, and join links."""

from .keys import SIGNATURE_SIZE, PublicKey, SigningKey, federation_id, public_key, verify
from .links import JoinLink
from .requests import RequestToken, sign_request, verify_request

__all__ = [
    "SIGNATURE_SIZE",
    "JoinLink",
    "PublicKey",
    "RequestToken",
    "SigningKey",
    "federation_id",
    "public_key",
    "sign_request",
    "verify",
    "verify_request",
]
