"""Take part in one round, and call back with how far it is: ``python examples/progress.py LINK records.jsonl``."""

import asyncio
import sys
from collections.abc import Callable
from typing import Any

from edge_client import Client, Progress, describe, events

Report = Callable[[float, str], None]
"""Told the fraction of this device's work that is done, from 0 to 1, and one line for a person."""


async def take_part(link: str, data: str, report: Report, **wishes: Any) -> events.RoundFinished:
    """How the round ended. ``wishes``: more keyword arguments of :meth:`edge_client.Client.join`."""
    done = 0.0
    async with Client.join(link, data=data, **wishes) as client:
        async for event in client.run():
            match event:
                case events.Training(event=Progress(step=step, steps=int(steps))):
                    done = 0.8 * (step / steps)
                case events.Uploading(sent=sent, total=total):
                    done = 0.8 + 0.1 * (sent / total)
                case events.RoundFinished():
                    report(1.0, describe(event))
                    return event  # leaving the loop stops the client
            report(done, describe(event))
    raise RuntimeError("The federation ended before this device's round did.")


def show(done: float, line: str) -> None:
    """One line on the terminal."""
    print(f"{done:4.0%}  {line}")


if __name__ == "__main__":
    asyncio.run(take_part(sys.argv[1], sys.argv[2], show))
