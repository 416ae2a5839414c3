"""Train on records from a database, not from a file: ``python examples/own_data.py LINK notes.sqlite3``.

The table is ``notes (question, answer, shared)``. It is asked anew for each update, so that what was written
meanwhile is trained on in the next round. The rows never leave this machine.
"""

import asyncio
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from typing import Any

from edge_client import Client, Record, describe, events


def read_notes(database: str) -> Iterator[Record]:
    """What the owner has released, as instruction records. Called in a thread, so it may take its time."""
    with closing(sqlite3.connect(database)) as connection:
        for question, answer in connection.execute("SELECT question, answer FROM notes WHERE shared"):
            yield Record(instruction=question, response=answer)


async def take_part(link: str, database: str, **wishes: Any) -> events.RoundFinished:
    """How the round ended. ``wishes``: more keyword arguments of :meth:`edge_client.Client.join`."""
    async with Client.join(link, data=partial(read_notes, database), **wishes) as client:
        async for event in client.run():
            print(describe(event))
            if isinstance(event, events.RoundFinished):
                return event
    raise RuntimeError("The federation ended before this device's round did.")


if __name__ == "__main__":
    asyncio.run(take_part(sys.argv[1], sys.argv[2]))
