"""What a refusal has to be, and that it has left everything as it was."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from hashlib import sha256
from typing import Any

from peers import Peer
from server_process import ServerProcess

from fedit_shared.identity import JoinLink
from fedit_shared.messages import PROTOCOL_HEADER, Refused, ServerMessage, decode


def alone(link: JoinLink, seed: object, act: Callable[[Peer], Awaitable[Any]], *, enrol: bool = False) -> None:
    async def run() -> None:
        async with Peer(link, seed) as peer:
            if enrol:
                await peer.enrol()
            await act(peer)

    asyncio.run(run())


def state(server: ServerProcess) -> str:
    """A digest of all that is on disk but when devices were last seen: tables, and what uploads there are."""
    digest = sha256()
    with sqlite3.connect(f"file:{server.folder / 'server.sqlite3'}?mode=ro", uri=True) as database:
        for table in ("events", "rounds", "results", "adapters", "invitations", "orders"):
            digest.update(repr(database.execute(f"SELECT * FROM {table}").fetchall()).encode())
        digest.update(repr(database.execute("SELECT identity, status FROM devices").fetchall()).encode())
    blobs = [path for path in (server.folder / "blobs").rglob("*") if path.is_file() and path.name != "probe"]
    digest.update(repr(sorted((str(path), sha256(path.read_bytes()).digest()) for path in blobs)).encode())
    return digest.hexdigest()


def require_refused(told: tuple[int, bytes, Any], statuses: tuple[int, ...], what: object, code: str = "") -> Refused:
    status, raw, headers = told
    assert status in statuses, (what, status, raw[:300])
    assert headers[PROTOCOL_HEADER] == "1"
    refused = decode(raw, ServerMessage)
    assert isinstance(refused, Refused), what
    assert refused.message
    assert code in ("", refused.code), (what, refused)
    return refused
