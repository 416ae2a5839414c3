"""Ports of loopback for servers that are started a moment later."""

import random
import socket
from itertools import count

_LOWEST, _HIGHEST = 20_000, 32_000
"""Below those that a system gives to outgoing connections, of which any may come meanwhile."""
_turn = count(random.randrange(_LOWEST, _HIGHEST, 2), 2)


def free_port() -> int:
    """A port that nobody listens on at this moment, nor on the one above it; another one each time."""
    for number in _turn:
        port = _LOWEST + (number - _LOWEST) % (_HIGHEST - _LOWEST)
        if _is_free(port) and _is_free(port + 1):
            return port
    raise AssertionError("numbers have no end")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
