"""The demo's participants: one process each, started, heard, killed with SIGKILL and started again."""

import asyncio
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from fedit_shared.errors import FeditError

from .participant import KILL_ME
from .settings import NAMES, Loss, Settings
from .story import Story


class Participants:
    """Client processes by name. Their events go into the story."""

    def __init__(self, settings: Settings, links: Sequence[str], model: str, story: Story) -> None:
        self._settings = settings
        self._links = dict(zip(NAMES, links, strict=True))
        self._model_folder = model if Path(model).is_dir() else None
        self._story = story
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._listeners: dict[str, asyncio.Task[None]] = {}

    async def start(self, name: str, *, hold: Loss | None = None) -> None:
        """Start ``name``'s client. ``hold``: where, and in which round, it stops to be killed."""
        home = self._settings.home(name)
        with (home / "client.log").open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "benchmarks.demo.participant",
                json.dumps(
                    {
                        "link": self._links[name],
                        "data": str(home / "data.jsonl"),
                        "state": str(home / "state"),
                        "plain": str(home / "plain"),
                        "model_folder": self._model_folder,
                        "hold": (hold.event, hold.round) if hold else None,
                        "threads": max(1, (os.cpu_count() or 1) // len(NAMES)),
                    }
                ),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
                limit=2**20,
            )
        self._processes[name] = process
        self._story.players[name].alive = True
        self._listeners[name] = asyncio.create_task(self._listen(name, process))

    async def kill(self, name: str) -> None:
        """SIGKILL, and wait until it is gone."""
        process = self._processes[name]
        process.send_signal(signal.SIGKILL)
        await self._listeners[name]

    def require_alive(self) -> None:
        """Raise FeditError if a client has ended that nobody killed."""
        for name, process in self._processes.items():
            if process.returncode not in (None, 0, -signal.SIGKILL):
                raise FeditError(f"{name}'s client ended with status {process.returncode}.", advice="See its log.")

    async def stop(self) -> None:
        """End all that still run."""
        for process in self._processes.values():
            if process.returncode is None:
                process.terminate()
        await asyncio.gather(*self._listeners.values())

    async def _listen(self, name: str, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            event = json.loads(line)
            if event == {"event": KILL_ME}:
                self._story.players[name].doing = "about to be killed"
                self._story.held[name].set()
            else:
                self._story.hear(name, event)
        status = await process.wait()
        self._story.players[name].alive = False
        self._story.players[name].doing = "killed" if status == -signal.SIGKILL else f"ended ({status})"
