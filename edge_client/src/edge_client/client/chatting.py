"""What a chat with a federation's model needs: the newest adapter, in a folder, beside a client that may be at work."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from edge_client.state import FederationState
from edge_client.transport import Transport, UnreachableError
from fedit_shared.errors import FeditError
from fedit_shared.messages import TaskSpec
from fedit_shared.strategies import Role

from .enrolment import Enrolment
from .folders import fetch_folder, kept_adapter, newest_adapter
from .personal import write_personal
from .threads import in_thread

PATIENCE_SECONDS = 20.0
"""So long a server is waited for that has a newer version than the one that is here."""

_AWAY = "The server does not answer."
_LATER = "Try again later, or name the folder of an adapter with --adapter."


class Newest(NamedTuple):
    """An adapter of a federation, as a PEFT folder, and the task that it belongs to."""

    folder: Path
    version: bytes
    task: TaskSpec


async def newest_folder(state: FederationState, into: Path, told: Callable[[str], None]) -> Newest:
    """The newest adapter that this device knows of, written below the folder ``into``; where the server does not give
    it, the last one that came down, and ``told`` is called with why. With what stays on this device, under a strategy
    that keeps something here. Nothing is locked and nothing in ``state`` is changed. Raises UserError before this
    device has taken part in a round."""
    out = into / "published"
    version, kept = await in_thread(newest_adapter, state), await in_thread(kept_adapter, state)
    server = Enrolment(state, None, accept_new_task=False).server
    async with Transport(server, state.identity, lambda news: None, clock=time.time) as transport:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                task = await fetch_folder(state, transport, out, version)
        except (TimeoutError, FeditError) as error:
            refusal = error if isinstance(error, FeditError) else UnreachableError(_AWAY, advice=_LATER)
            if kept is None or kept == version:
                raise refusal from error
            why = refusal.message.rstrip(".")
            told(f"The newest adapter cannot be fetched ({why}): this is the one before it.")
            version = kept
            task = await fetch_folder(state, transport, out, version)
    assert version is not None, "fetched"
    if Role.KEEP in task.turn(1).roles:
        own = into / "own"
        await in_thread(write_personal, state, out, own)
        return Newest(own, version, task)
    return Newest(out, version, task)
