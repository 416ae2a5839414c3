"""Where each message goes, and how large it may be: the one table that client and server share."""

from typing import NamedTuple

import msgspec

from .client import Answer, CheckIn, Deal, Enrol, Leave, Muster, Poll, Report, Vote

PROTOCOL_VERSION = 1
PROTOCOL_HEADER = "Fedit-Protocol"
"""Header of every request and answer; a server refuses other versions with 426 and says what to upgrade."""
MEDIA_TYPE = "application/msgpack"
CHUNK_SIZE = 512 * 1024
"""Bytes of an upload that one request carries at most."""
PIECE_SIZE = 32 * 1024
"""Bytes of the smallest part of an upload that is kept by itself: what a line has to carry to get on."""


class Route(NamedTuple):
    """``POST path`` with a body of at most ``limit`` bytes."""

    path: str
    limit: int


ROUTES: dict[type[msgspec.Struct], Route] = {
    Enrol: Route("/v1/enrol", 1024),
    CheckIn: Route("/v1/checkin", 1024),
    Muster: Route("/v1/muster", 4096),
    Poll: Route("/v1/poll", 1024),
    Deal: Route("/v1/deal", 2**20 + 4096),
    Report: Route("/v1/report", 2**16),
    Vote: Route("/v1/vote", 1024),
    Answer: Route("/v1/answer", 2**16),
    Leave: Route("/v1/leave", 256),
}


def chunk_path(cohort: bytes, first: int | None = None) -> str:
    """``PUT`` a chunk of this device's upload here: whole pieces, from number ``first`` on, all between two multiples
    of CHUNK_SIZE. Without ``first``: ``GET`` which are held (ChunksHeld)."""
    return f"/v1/cohorts/{cohort.hex()}/chunks" + ("" if first is None else f"/{first}")


def adapter_path(adapter: bytes) -> str:
    """``GET`` an adapter's safetensors file here; ranges are honoured."""
    return f"/v1/adapters/{adapter.hex()}"
