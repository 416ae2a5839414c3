"""The demo on a terminal: a live table on top of the lines that stay; elsewhere the lines alone."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from .story import Story

SHOWN_LINES = 14


@contextlib.asynccontextmanager
async def show(story: Story, console: Console) -> AsyncIterator[None]:
    """Draw ``story`` as long as the block runs."""
    stop = asyncio.Event()
    task = asyncio.create_task(_live(story, console, stop) if console.is_terminal else _plain(story, console, stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def _live(story: Story, console: Console, stop: asyncio.Event) -> None:
    with Live(console=console, refresh_per_second=4, transient=True) as live:
        while not stop.is_set():
            live.update(_draw(story))
            await _pause(stop, 0.25)
    for line in story.lines:
        console.print(line, highlight=False, markup=False)


async def _plain(story: Story, console: Console, stop: asyncio.Event) -> None:
    shown = 0
    while True:
        for line in story.lines[shown:]:
            console.print(line, highlight=False, markup=False, soft_wrap=True)
            shown += 1
        if stop.is_set() and shown == len(story.lines):
            return
        await _pause(stop, 0.2)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


def _draw(story: Story) -> Group:
    table = Table(title=f"{story.stage} · {time.monotonic() - story.began:.0f} s", title_justify="left", expand=True)
    table.add_column("participant", width=12)
    table.add_column("round", width=6, justify="right")
    table.add_column("what it is doing", ratio=1, overflow="ellipsis", no_wrap=True)
    for player in story.players.values():
        mark = "●" if player.alive else "○"
        style = "" if player.alive else "dim"
        table.add_row(f"{mark} {player.name}", str(player.round or ""), Text(player.doing), style=style)
    return Group(*(Text(line) for line in story.lines[-SHOWN_LINES:]), table)
