"""What one sender can make a server do: so many requests a minute, and so much memory.

A stranger counts by its address; a device that has joined by its identity, once its signature is checked: nobody can
use up another's share by naming it.
"""

import ipaddress
from collections import Counter
from collections.abc import Callable

from aiohttp import web

from ..errors import BusyError

_MINUTE = 60.0
_MANY = 1024
BODY_BYTES = 512 * 2**20
"""Of request bodies in memory, all senders together …"""
_BODY_SHARE = 4
"""… and this part of them from one address."""


class Pace:
    """``per_minute`` requests of each sender, a minute's worth of them at once. ``who`` they are, in words. An IPv6
    address counts with its /64: whoever has one has them all."""

    def __init__(self, per_minute: int, clock: Callable[[], float], who: str = "address") -> None:
        self._who = who
        self._step = _MINUTE / per_minute
        self._clock = clock
        self._paid: dict[str, float] = {}
        """sender → until when its requests have used up its pace."""
        self._tidy_at, self._tidy_after = _MANY, 0.0

    def require(self, sender: str) -> None:
        """Raise BusyError if a request now is one too many."""
        self._next(network(sender), self._clock())

    def take(self, sender: str) -> None:
        """Count a request. Raises BusyError for one too many."""
        now, name = self._clock(), network(sender)
        self._paid[name] = self._next(name, now)
        if len(self._paid) > self._tidy_at or now >= self._tidy_after:  # nobody's address is kept for nothing
            self._paid = {name: until for name, until in self._paid.items() if until > now}
            self._tidy_at, self._tidy_after = max(_MANY, 2 * len(self._paid)), now + _MINUTE

    def _next(self, name: str, now: float) -> float:
        paid = max(self._paid.get(name, now), now) + self._step
        if paid > now + _MINUTE + 1e-6:
            raise BusyError(f"This {self._who} asks too often.", advice="Try again in a minute.")
        return paid


class Memory:
    """Bytes of requests, or of answers, that are held until they are done with: ``total``, a part of it for one
    address: unless told otherwise a quarter. ``what`` they are of."""

    def __init__(self, total: int = BODY_BYTES, share: int = _BODY_SHARE, what: str = "body") -> None:
        self._total, self._share = total, share
        self._key = f"held of {what}"
        self._all = 0
        self._held: Counter[str] = Counter()

    def take(self, request: web.Request, count: int) -> None:
        """So many more bytes of this request are here. Raises BusyError if that is too much."""
        address = network(request.remote or "")
        if self._all + count > self._total or self._held[address] + count > self._total // self._share:
            raise BusyError("The server holds as much as it can.", advice="Try again in a moment.")
        self._all += count
        self._held[address] += count
        request[self._key] = request.get(self._key, 0) + count

    def free(self, request: web.Request) -> None:
        """The request is answered, or the answer sent."""
        if held := request.get(self._key, 0):
            address = network(request.remote or "")
            self._all -= held
            self._held[address] -= held
            if not self._held[address]:
                del self._held[address]
            request[self._key] = 0


def network(address: str) -> str:
    """The sender that an address stands for: itself, or the /64 of an IPv6 one."""
    return str(ipaddress.ip_network((address, 64), strict=False)) if ":" in address else address
