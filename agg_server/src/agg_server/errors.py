"""Errors that only a server has."""

import errno

from fedit_shared.errors import FeditError, ProtocolError


class UnavailableError(FeditError):
    """The server cannot do this just now (disk full, database locked). Nothing was kept; it may be tried again."""

    http_status = 503
    code = "unavailable"


class FullError(UnavailableError):
    """The disk takes no more."""

    for_operator = (
        "Nothing is lost. Make room: old backups, logs, `fedit-server prune DIR --keep-versions N`; then a larger disk."
    )


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


_FULL = {errno.ENOSPC: "The server's disk is full.", errno.EDQUOT: "The server's disk quota is used up."}
_STORAGE = {
    errno.EROFS: "The server's disk is read-only.",
    errno.EIO: "The server's disk fails.",
}


def storage_error(error: OSError) -> UnavailableError:
    """What a failed write means to the one who caused it."""
    number, advice = error.errno or 0, "Nothing is lost. Try again later; the operator finds this in the log."
    if number in _FULL:
        return FullError(_FULL[number], advice=advice)
    return UnavailableError(_STORAGE.get(number, "The server cannot write to its disk."), advice=advice)
