"""HTTPS to a federation's server: pinned, signed, resumable, and patient."""

from .download import download_adapter
from .http import ClockError, Server, Transport, UnreachableError, WrongServerError
from .patience import News, Recovered, Trouble, delays
from .upload import chunks_held, upload

__all__ = [
    "ClockError",
    "News",
    "Recovered",
    "Server",
    "Transport",
    "Trouble",
    "UnreachableError",
    "WrongServerError",
    "chunks_held",
    "delays",
    "download_adapter",
    "upload",
]
