"""What is shown while the client works: JSON lines, plain lines, or a live view."""

import os
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Protocol, Self

import click
import msgspec

from edge_client import client as c
from edge_client import training as t
from edge_client.client import to_json
from edge_client.client.words import describe
from edge_client.sizes import size
from edge_client.state import Entry
from fedit_shared.errors import LONGEST
from fedit_shared.text import shown

UNDRAWABLE = ("dumb", "unknown")
"""$TERM of what cannot move its cursor."""
PLAIN_SECONDS = 10.0
"""Plain lines tell of progress this often."""


class View(Protocol):
    """Shows events; a context manager, since a live view owns the screen meanwhile."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def say(self, line: str) -> None:
        """Something that is no event, for people only."""

    def show(self, event: c.Event) -> None: ...

    def resized(self) -> None:
        """The terminal has another size now."""


class JsonView:
    """One JSON object a line on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        pass

    def resized(self) -> None:
        pass

    def show(self, event: c.Event) -> None:
        click.echo(msgspec.json.encode({"time": round(time.time(), 3), **to_json(event)}))


class PlainView:
    """One line for whatever happens, with the time; progress now and then."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._next: dict[type, float] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
        line = shown(line, LONGEST)
        click.echo(click.wrap_text(line, shutil.get_terminal_size((120, 24)).columns) if sys.stdout.isatty() else line)

    def resized(self) -> None:
        pass

    def show(self, event: c.Event) -> None:
        if not self._is_due(event):
            return
        click.echo(f"{time.strftime('%H:%M:%S')}  {describe(event)}")
        for line in plan_table(event):
            click.echo(line)

    def _is_due(self, event: c.Event) -> bool:
        match event:
            case c.Training(event=t.Checkpointed()):
                return False
            case c.Training(event=t.Progress() as told):
                kind: type = type(told)
            case c.Training(event=t.Fetching(here=done, total=total) as told) if 0 < done < total:
                kind = type(told)
            case c.Uploading(sent=done, total=total) | c.Downloading(received=done, total=total) if done < total:
                kind = type(event)
            case _:
                return True
        now = self._monotonic()
        if now < self._next.get(kind, 0.0):
            return False
        self._next[kind] = now + PLAIN_SECONDS
        return True


def plan_table(event: c.Event) -> list[str]:
    """What a plan's bytes are for, a kind to a line, and what other budgets would get; nothing for other events."""
    if isinstance(event, c.Training) and isinstance(event.event, t.Planned):
        lines = [f"{size(count):>12}  {what}" for what, count in event.event.table] + [*event.event.alternatives]
        return [shown(line, LONGEST) for line in lines]
    return []


def choose(view: str | None, entries: Sequence[Entry] = ()) -> View:
    """``json``, ``plain``, or None: live on a terminal that can be drawn on, plain elsewhere. ``entries``: this
    device's history up to now."""
    if view == "json":
        return JsonView()
    if view is None and sys.stdout.isatty() and os.environ.get("TERM") not in UNDRAWABLE:
        from .live import LiveView

        return LiveView(entries)
    return PlainView()
