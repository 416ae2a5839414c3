"""How devices come in: join links with a secret token, of which only the hash is kept."""

from collections.abc import Iterable
from hashlib import sha256

from agg_server import tls
from agg_server.config import Config
from agg_server.layout import Layout
from agg_server.store import Invitation
from fedit_shared.errors import ForgedError, UnauthorizedError
from fedit_shared.identity import JoinLink, federation_id, verify
from fedit_shared.identity.links import TOKEN_SIZE
from fedit_shared.identity.requests import LIFETIME
from fedit_shared.messages import Enrol
from fedit_shared.secagg.bodies import EnrolBody


def make_link(
    address: str, federation: bytes, pin: bytes | None, token: bytes, *, now: float, uses: int, expires: float | None
) -> tuple[JoinLink, Invitation]:
    """A join link around ``token`` (TOKEN_SIZE bytes that nobody can guess), and what the server keeps of it."""
    if len(token) != TOKEN_SIZE:
        raise ValueError("a token of a wrong size")
    invitation = Invitation(token_hash=sha256(token).digest(), created=now, expires=expires, uses=uses, used=0)
    return JoinLink(address.rstrip("/"), federation, token, pin), invitation


def invite(
    layout: Layout, config: Config, tokens: Iterable[bytes], *, uses: int, expires: float | None, now: float
) -> list[tuple[JoinLink, Invitation]]:
    """A join link around each token, good for ``uses`` devices until ``expires`` (Unix seconds; None: until used up),
    and what is to be stored of them. Reads the federation's key and certificate."""
    federation = federation_id(layout.signing_key().public)
    certificate = layout.path(config.server.certificate)
    pin = tls.pin(certificate) if config.server.pin else None
    if pin is not None:
        tls.keep_pin(certificate, layout.pinned)
    return [
        make_link(config.server.address, federation, pin, token, now=now, uses=uses, expires=expires)
        for token in tokens
    ]


def check_enrol(message: Enrol, federation: bytes, now: float) -> bytes:
    """The hash of the token that the device presents, its signature and its time checked.

    Raises ForgedError, or UnauthorizedError for a clock that is too far off.
    """
    token_hash = sha256(message.token).digest()
    body = EnrolBody(federation, message.identity, token_hash, message.time)
    try:
        verify(message.identity, "enrol", body.encode(), message.signature)
    except ForgedError as error:
        raise ForgedError(error.message, advice="Is the join link one of this federation?") from error
    if abs(message.time - now) > LIFETIME:
        raise UnauthorizedError(
            f"This device's clock is {abs(message.time - now):.0f} s off.",
            advice="Set this machine's clock (by network time), then try again.",
        )
    return token_hash
