"""Join links: ``https://HOST:PORT/join#1.FEDERATION.TOKEN[.PIN]``.

Everything after ``#`` stays in the participant's own machine: a browser that opens the link does not send it.
FEDERATION names the server's signing key, TOKEN is the invitation, PIN is the SHA-256 of the server's TLS public key
(SubjectPublicKeyInfo), absent where the certificate is publicly trusted. All three are unpadded base64url.
"""

import base64
import binascii
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from fedit_shared.errors import UserError
from fedit_shared.installing import UPGRADE_CLIENT

TOKEN_SIZE = 16
_VERSION = "1"
_ADVICE = "Copy the whole link from the invitation, from https:// to its last character, in quotes."


@dataclass(frozen=True)
class JoinLink:
    """An invitation to one federation. ``address`` is ``https://host:port`` without a slash at its end."""

    address: str
    federation: bytes
    token: bytes = field(repr=False)
    pin: bytes | None

    def __str__(self) -> str:
        parts = [self.federation, self.token] + ([self.pin] if self.pin else [])
        return f"{self.address}/join#{_VERSION}." + ".".join(_encode(part) for part in parts)

    @classmethod
    def parse(cls, text: str) -> "JoinLink":
        """The link that ``text`` is. Raises UserError that says what is wrong with it."""
        try:
            url = urlsplit(text.strip())
            host, _ = url.hostname, url.port
        except ValueError as error:
            raise UserError("This is not a join link: its address cannot be read.", advice=_ADVICE) from error
        odd = url.query or "@" in url.netloc or not url.netloc.isprintable()
        if url.scheme != "https" or not host or url.path != "/join" or odd:
            raise UserError("This is not a join link: it has the form https://HOST:PORT/join#…", advice=_ADVICE)
        version, *parts = url.fragment.split(".")
        if version != _VERSION and version.isdigit():
            raise UserError(
                f"This join link is of version {version}, this client reads version {_VERSION}.",
                advice=UPGRADE_CLIENT,
            )
        sizes = (32, TOKEN_SIZE, 32)
        decoded = [_decode(part) for part in parts]
        if (
            version != _VERSION
            or len(decoded) not in (2, 3)
            or any(part is None or len(part) != size for part, size in zip(decoded, sizes, strict=False))
        ):
            raise UserError("This join link is cut off or changed.", advice=_ADVICE)
        federation, token, *pin = (part for part in decoded if part is not None)
        return cls(f"https://{url.netloc}", federation, token, pin[0] if pin else None)


def _encode(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


def _decode(text: str) -> bytes | None:
    try:
        raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if _encode(raw) == text else None
