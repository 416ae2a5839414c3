"""Errors that only a server has."""

import errno

from fedit_shared.errors import FeditError, ProtocolError


class UnavailableError(FeditError):
    """The server cannot do this just now (disk full, database locked). Nothing was kept; it may be tried again."""

    http_status = 503
    code = "unavailable"


class BusyError(FeditError):
    """Too many requests. Nothing was kept; it may be tried again."""

    http_status = 429
    code = "unavailable"


class SlowError(ProtocolError):
    """The request did not come in time: its sender stalled, or slept. Nothing was kept; it may be tried again."""

    http_status = 408
    code = "slow"


class CorruptError(FeditError):
    """What lies on the server's own disk is not what was written there."""


class GoneError(ProtocolError):
    """The sender hung up before its request was here: a line that broke. Nobody is left to be told."""


_STORAGE = {
    errno.ENOSPC: "The server's disk is full.",
    errno.EDQUOT: "The server's disk quota is used up.",
    errno.EROFS: "The server's disk is read-only.",
    errno.EIO: "The server's disk fails.",
}


def storage_error(error: OSError) -> UnavailableError:
    """What a failed write means to the one who caused it."""
    message = _STORAGE.get(error.errno or 0, "The server cannot write to its disk.")
    return UnavailableError(message, advice="Nothing is lost. Try again later; the operator finds this in the log.")
