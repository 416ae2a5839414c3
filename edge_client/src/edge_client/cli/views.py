"""What is shown while the client works: JSON lines, plain lines, or a live view."""

import shutil
import sys
import time
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

import click
import msgspec

from edge_client import client as c
from edge_client import training as t
from edge_client.client import to_json
from edge_client.client.words import clock, describe, size, span

if TYPE_CHECKING:
    from rich.console import Group

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


class JsonView:
    """One JSON object a line on stdout."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def say(self, line: str) -> None:
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
        click.echo(click.wrap_text(line, shutil.get_terminal_size((120, 24)).columns) if sys.stdout.isatty() else line)

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


class LiveView:
    """What happened scrolls by; what is going on stays at the bottom."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.live import Live

        self._console = Console(highlight=False)
        self._bar: tuple[str, float, float] | None = None
        self._rounds: dict[int, str] = {}
        self._idle = "Connecting …"
        self._live = Live(console=self._console, refresh_per_second=4, transient=True, get_renderable=self._render)

    def __enter__(self) -> Self:
        self._live.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.__exit__(kind, error, trace)

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def show(self, event: c.Event) -> None:
        from rich.text import Text

        match event:
            case c.Training(event=t.Progress() as p):
                budget = f" of {size(p.budget_bytes)}" if p.budget_bytes else ""
                done = p.step / p.steps if p.steps else 0.0
                words = f"loss {p.loss:.3f}  {p.tokens_per_second:.0f} tokens/s  memory {size(p.memory_bytes)}{budget}"
                self._bar = (f"Round {event.round}: training", done, 1.0)
                self._idle = f"{words}  {span(p.seconds_left)} left"
            case c.Training(event=t.Checkpointed()):
                pass
            case c.Training(event=t.Fetching(here=done, total=total)) if done:
                self._bar = (f"Round {event.round}: base model", done, total)
                self._idle = f"{size(done)} of {size(total)}"
            case c.Downloading():
                self._bar = (f"Round {event.round}: adapter", event.received, event.total)
            case c.Uploading():
                self._bar = (f"Round {event.round}: upload", event.sent, event.total)
                self._idle = f"{size(event.sent)} of {size(event.total)}"
            case c.Waiting(round=None):
                self._bar, self._idle = None, describe(event)
            case c.Waiting(round=int(number)):
                self._rounds[number] = describe(event)
            case _:
                self._note(event)
                self._live.refresh()  # printing alone draws what was below the last time
                self._console.print(Text.assemble((time.strftime("%H:%M:%S"), "dim"), "  ", describe(event)))
                for line in plan_table(event):
                    self._console.print(line, markup=False)

    def _note(self, event: c.Event) -> None:
        match event:
            case c.RoundFinished(round=number):
                self._rounds.pop(number, None)
            case c.Mustered(round=number) | c.Contributed(round=number):
                self._bar, self._idle = None, ""
                self._rounds[number] = describe(event)
            case c.Training(event=t.Loading()):
                self._bar, self._idle = None, f"{describe(event)[:-1]} …"
            case c.Paused():
                self._bar, self._idle = None, describe(event)
            case c.Resumed():
                self._idle = ""
            case c.Joined() | c.Offered() | c.Training() | c.Trained() | c.Reconnected():
                self._bar, self._idle = None, ""
            case c.Retrying():
                self._idle = f"{describe(event)} ({clock(int(time.time()))})"

    def _render(self) -> "Group":
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        if self._bar is not None:
            title, done, total = self._bar
            grid.add_row(Text(title, "bold"), ProgressBar(total=total or 1, completed=done, width=40))
        lines = [Text(line, "cyan") for line in self._rounds.values()]
        return Group(grid, Text(self._idle), *lines)


def plan_table(event: c.Event) -> list[str]:
    """What a plan's bytes are for, a kind to a line, and what other budgets would get; nothing for other events."""
    if isinstance(event, c.Training) and isinstance(event.event, t.Planned):
        return [f"{size(count):>12}  {what}" for what, count in event.event.table] + [*event.event.alternatives]
    return []


def choose(view: str | None) -> View:
    """``json``, ``plain``, or None: live on a terminal, plain elsewhere."""
    if view == "json":
        return JsonView()
    return LiveView() if view is None and sys.stdout.isatty() else PlainView()
