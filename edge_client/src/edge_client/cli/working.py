"""How far long work is: a bar on a terminal, else a line now and then. On stderr, so that a result can be piped."""

import sys
import time
from types import TracebackType
from typing import Any, Self

import click

from edge_client.client.words import span
from edge_client.sizes import size
from edge_client.training import Fetching, Loading, Notice

TELL_SECONDS = 10.0


class Working:
    """A context manager; call it with what is done, how many of it are, and how many there are."""

    def __init__(self, *, plain: bool) -> None:
        self._live: Any = None
        self._began: dict[str, tuple[float, int]] = {}
        self._next = 0.0
        if not plain and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import Progress

            self._live = Progress(console=Console(stderr=True), transient=True)
            self._tasks: dict[str, Any] = {}

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live is not None:
            self._live.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._live is not None:
            if what not in self._tasks:
                self._tasks[what] = self._live.add_task(what, total=total)
            self._live.update(self._tasks[what], completed=done, total=total)
            return
        now = time.monotonic()
        new = what not in self._began
        first, at = self._began.setdefault(what, (now, done))
        if new or done >= total or now >= self._next:
            self._next = now + TELL_SECONDS
            left = (now - first) / (done - at) * (total - done) if done > at else 0.0
            self.say(f"{what}: {done} of {total}{f', {span(left)} left' if left else ''}")

    def told(self, event: object) -> None:
        """What the child says while it loads."""
        match event:
            case Notice():
                self.say(event.message)
            case Loading():
                self.say(f"Loading the {event.part}.")
            case Fetching():
                self(f"Fetching {event.model} ({size(event.total)})", event.here, event.total)

    def say(self, line: str) -> None:
        """A line that stays."""
        if self._live is not None:
            self._live.console.print(line, markup=False, highlight=False)
        else:
            click.echo(line, err=True)
