"""HTTPS to a federation's server: pinned, signed, resumable, and patient."""

from .download import download_adapter
from .http import ClockError, Server, Transport, WrongServerError
from .patience import News, Recovered, Trouble
from .upload import chunks_held, upload

__all__ = [
    "ClockError",
    "News",
    "Recovered",
    "Server",
    "Transport",
    "Trouble",
    "WrongServerError",
    "chunks_held",
    "download_adapter",
    "upload",
]
