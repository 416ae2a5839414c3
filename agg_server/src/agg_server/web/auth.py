"""Who asks: requests signed by a device that has joined, each good once."""

import base64
import binascii
from collections.abc import Callable, Collection
from typing import Protocol

from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity import verify_request
from fedit_shared.identity.requests import LIFETIME, SCHEME

_JOIN = "Join with `fedit-client join LINK`; the operator makes links with `fedit-server invite`."


class UsedOnce(Protocol):
    """Numbers used once, remembered for at least as long as a token is good."""

    def use(self, nonce: bytes) -> None:
        """Raise UnauthorizedError if this was used before."""
        ...


class Nonces:
    """Those of a server that is alone: two sets, thrown away in turn."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._since = clock()
        self._new: set[bytes] = set()
        self._old: set[bytes] = set()

    def use(self, nonce: bytes) -> None:
        """Raise UnauthorizedError if this was used before."""
        if abs(self._clock() - self._since) > 2 * LIFETIME:
            self._old, self._new, self._since = self._new, set(), self._clock()
        if nonce in self._new or nonce in self._old:
            raise UnauthorizedError("This request was sent before.", advice="Sign it again.")
        self._new.add(nonce)


class Gate:
    """Lets requests of active devices through. ``active`` is asked anew each time; ``nonces``: None keeps them here."""

    def __init__(
        self,
        federation: bytes,
        active: Callable[[], Collection[bytes]],
        clock: Callable[[], float],
        nonces: UsedOnce | None = None,
    ) -> None:
        self._federation = federation
        self._active = active
        self._clock = clock
        self._nonces = Nonces(clock) if nonces is None else nonces

    def require_known(self, header: str) -> bytes:
        """Who claims to ask. Raises UnauthorizedError for a stranger, before any body is read."""
        scheme, _, encoded = header.partition(" ")
        try:
            identity = base64.b64decode(encoded, altchars=b"-_", validate=True)[:32]
        except (binascii.Error, ValueError):
            identity = b""
        if scheme != SCHEME or len(identity) != 32:
            raise UnauthorizedError("This request is not signed by a device.", advice=_JOIN)
        if identity not in self._active():
            raise UnauthorizedError("This device has not joined this federation, or may not take part.", advice=_JOIN)
        return identity

    def require_signed(self, header: str, method: str, path: str, body: bytes) -> None:
        """Raise UnauthorizedError or ForgedError unless the device signed just this request, now, and only once."""
        token = verify_request(header, self._federation, method, path, body, now=int(self._clock()))
        self._nonces.use(token.identity + token.nonce)
