"""One process serves a folder at a time."""

import fcntl
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fedit_shared.errors import UserError

from .layout import Layout

_TRIES = 10
_PAUSE = 0.05


@contextmanager
def only_server(layout: Layout, tries: int = _TRIES) -> Iterator[None]:
    """Holds the folder's lock. Raises UserError if another process serves it.

    It tries more than once: :func:`is_served`, in another process, may hold the lock for an instant.
    """
    with open(layout.lock, "a", encoding="ascii") as lock:
        for left in reversed(range(tries)):
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError:
                if not left:
                    raise UserError(
                        f"{layout.folder} is already being served by another process.", advice="Stop that one first."
                    ) from None
                time.sleep(_PAUSE)
        yield


def is_served(layout: Layout) -> bool:
    """Whether a process serves this folder now."""
    try:
        with only_server(layout, tries=1):
            return False
    except UserError:
        return True
