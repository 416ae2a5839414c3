"""The demo from beginning to end: five participants, two rounds, two kills, exact sums, a better adapter."""

import asyncio
from pathlib import Path
from typing import Any

from rich.console import Console

from fedit_shared.errors import FeditError

from .evaluation import Judge
from .participants import Participants
from .report import Finale, build_report
from .server import Server
from .settings import LOSSES, NAMES, Loss, Settings
from .stage import prepare, public_name
from .story import Story
from .view import show

ROUND_TIMEOUT = 900.0
"""Seconds after which a round that has not ended counts as hung."""


async def run(settings: Settings, console: Console) -> Finale:
    """Play the demo; the report is also written to ``settings.report``.

    Raises FeditError for a set-up that cannot be used, or a process that died by itself.
    """
    story = Story()
    server = Server(settings)
    async with show(story, console):
        model, records = await prepare(settings, story.say)
        await server.init(public_name(model))
        await server.start()
        try:
            story.say(f"server: HTTPS on loopback, its files in {settings.server}")
            judge = Judge(settings, model, records, story)
            async with judge.process:
                evaluations = [await judge.loss(None)]
                participants = Participants(settings, await server.invite(len(NAMES)), model, story)
                try:
                    rounds = []
                    for number in range(1, settings.rounds + 1):
                        story.stage = f"round {number} of {settings.rounds}"
                        rounds.append(await _round(number, server, participants, story))
                        if number < settings.rounds:
                            await _revive(participants, story)
                        evaluations.append(await judge.loss(_adapter(settings, rounds[-1])))
                finally:
                    await participants.stop()
                answers = await judge.answers(_adapter(settings, rounds[-1]))
            out = await server.export(settings.folder / "result", settings.rounds)
        finally:
            await server.stop()
    return build_report(settings, model, story, rounds, evaluations, answers, out)


async def _round(number: int, server: Server, participants: Participants, story: Story) -> dict[str, Any]:
    """One round, with its kill; returned as the server tells it."""
    if number == 1:
        for name in NAMES:
            await participants.start(name, hold=next((loss for loss in LOSSES if loss.name == name), None))
    kills = [asyncio.create_task(_kill(loss, participants, story)) for loss in LOSSES if loss.round == number]
    try:
        async with asyncio.timeout(ROUND_TIMEOUT):
            while True:
                found = [r for r in await server.rounds() if r["round"] == number and r["outcome"]]
                if found:
                    break
                participants.require_alive()
                await asyncio.sleep(1)
    except TimeoutError:
        raise FeditError(f"Round {number} did not end within {ROUND_TIMEOUT:.0f} s.", advice="See the logs.") from None
    finally:
        for kill in kills:
            kill.cancel()
    story.say(f"round {number} {found[0]['outcome']}, {found[0]['seconds']:.0f} s after it began")
    return found[0]


async def _revive(participants: Participants, story: Story) -> None:
    for name in story.gone():
        await participants.start(name)
        story.say(f"{name} is started again, and goes on from what is on its disk")


async def _kill(loss: Loss, participants: Participants, story: Story) -> None:
    await story.held[loss.name].wait()
    await participants.kill(loss.name)
    words = {"Uploading": "in the midst of its upload", "Contributed": "after its upload, before any answer"}
    story.say(f"{loss.name} was killed (SIGKILL) {words[loss.event]}")


def _adapter(settings: Settings, round_: dict[str, Any]) -> Path:
    """The adapter that is current after a round, where the server keeps it."""
    digest = round_["adapter_after"] or round_["adapter_before"]
    return settings.server / "blobs" / "adapters" / f"{digest}.safetensors"
