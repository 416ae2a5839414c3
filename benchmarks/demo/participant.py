"""One of the demo's participants: the real client, watched. ``python -m benchmarks.demo.participant JSON``.

It prints its client's events as JSON lines. Besides, and that is what the subclass is for, it keeps its quantized
vectors aside, so that the demo can add them up itself, and stops dead at the point where the demo is to kill it. The
client itself has no option for either.
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

import msgspec

from edge_client.client import Client, Training, Uploading, to_json
from edge_client.training import TrainEvent, TrainJob
from fedit_shared.errors import FeditError
from fedit_shared.secagg import Contribution, Session, Update

from .plain import plain_slots
from .proof import keep_plain

KILL_ME = "KillMe"
"""Printed when the participant waits to be killed."""


class WatchedClient(Client):
    """The client, its quantized vectors kept in ``plain_folder``."""

    plain_folder: Path
    threads: int

    def contribute(
        self, session: Session, update: Update, randomness: bytes, sink: Callable[[memoryview], object]
    ) -> Contribution:
        """Keep the plain slots aside, then mask them."""
        keep_plain(self.plain_folder, session.roster.cohort, plain_slots(session, update, randomness))
        return super().contribute(session, update, randomness, sink)

    def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        """Train with this participant's part of the machine."""
        return super().train(msgspec.structs.replace(job, threads=self.threads))


async def participate(job: dict[str, Any]) -> None:
    """Take part until the federation is over or somebody kills this process."""
    hold = tuple(job["hold"] or ())
    async with WatchedClient.join(
        job["link"], data=job["data"], state=job["state"], model_folder=job["model_folder"]
    ) as client:
        client.plain_folder = Path(job["plain"])
        client.threads = job["threads"]
        async for event in client.run():
            line = to_json(event)
            if isinstance(event, Training):
                line = {"event": "Training", "round": event.round, "training": _named(event.event)}
            print(json.dumps(line), flush=True)
            begun = not isinstance(event, Uploading) or event.sent > 0
            if begun and hold == (type(event).__name__, getattr(event, "round", None)):
                print(json.dumps({"event": KILL_ME}), flush=True)
                signal.pause()


def _named(event: TrainEvent) -> dict[str, Any]:
    return {**msgspec.to_builtins(event), "event": type(event).__name__}


if __name__ == "__main__":
    try:
        asyncio.run(participate(json.loads(sys.argv[1])))
    except FeditError as error:
        sys.exit(str(error))
