"""Who asks: requests signed by a device that has joined, each good once."""

import base64
import binascii
from collections.abc import Callable, Collection
from threading import Lock
from typing import Protocol

from fedit_shared.errors import UnauthorizedError
from fedit_shared.identity import verify_request
from fedit_shared.identity.requests import LIFETIME, SCHEME

from ..errors import UnavailableError

_JOIN = "Join with `fedit-client join LINK`; the operator makes links with `fedit-server invite`."


class UsedOnce(Protocol):
    """Numbers used once, remembered for at least as long as a token is good. Methods block: for worker threads."""

    def use(self, nonce: bytes, time: int) -> None:
        """``time``: when the token was signed, Unix seconds. Raise UnauthorizedError if this was used before."""
        ...


class Nonces:
    """Those of a server that is alone, by the time of their tokens. However its clock jumps, what is forgotten is not
    accepted again."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = Lock()
        self._used: dict[int, set[bytes]] = {}
        """Time by LIFETIME → the numbers of that span."""
        self._forgotten = 0
        """Of the spans before this one nothing is known any more."""

    def use(self, nonce: bytes, time: int) -> None:
        """Raise UnauthorizedError if this was used before, UnavailableError if that cannot be told, since this
        machine's clock was set back."""
        span, now = time // LIFETIME, self._clock()
        with self._lock:
            for old in [old for old in self._used if (old + 2) * LIFETIME < now]:
                del self._used[old]
                self._forgotten = max(self._forgotten, old + 1)
            if span < self._forgotten:
                raise UnavailableError("The server's clock was set back.", advice="Try again in a minute.")
            used = self._used.setdefault(span, set())
            if nonce in used:
                raise UnauthorizedError("This request was sent before.", advice="Sign it again.")
            used.add(nonce)


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
        """Raise UnauthorizedError or ForgedError unless the device signed just this request, now, and only once;
        UnavailableError where that cannot be told."""
        token = verify_request(header, self._federation, method, path, body, now=int(self._clock()))
        self._nonces.use(token.identity + token.nonce, token.time)
