"""The live view: what happened scrolls by, what is going on stays at the bottom of the terminal."""

import time
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, NamedTuple, Self

from edge_client import client as c
from edge_client.client.words import describe, span
from edge_client.sizes import size
from edge_client.state import Entry
from fedit_shared.errors import LONGEST
from fedit_shared.text import shown

from .board import PHASES, Board, Stage
from .views import plan_table

if TYPE_CHECKING:
    from rich.console import Group, RenderableType
    from rich.live import Live
    from rich.text import Text

DRAW_SECONDS = 0.1
"""What moves all the time is drawn this often at most; news at once."""
WIDE = 60
"""From so many columns on, all phases of a round are shown; below, the present one."""
_BAR, _LEAST_BAR = 40, 6
_KEPT = 200
"""Lines that are shown again after the terminal has changed its size."""


class LiveView:
    """Owns the terminal while it is entered. It draws when something is told to it: no thread, nothing to see where
    nothing happens."""

    def __init__(self, entries: Sequence[Entry] = ()) -> None:
        """``entries``: this device's history up to now."""
        from rich.console import Console

        self._console = Console(highlight=False)
        self._board = Board(entries)
        self._lines: deque[str] = deque(maxlen=_KEPT)
        self._live = self._new_live()
        self._size = self._console.size
        self._drawn = 0.0

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """Something that is no event, for people only."""
        self._print(shown(line, LONGEST))

    def show(self, event: c.Event) -> None:
        """Take ``event`` in, and draw."""
        if self._board.note(event):
            self._live.refresh()  # printing alone draws what was below the last time
            self._print(f"{time.strftime('%H:%M:%S')}  {describe(event)}", stamped=True)
            for line in plan_table(event):
                self._print(line)
        elif time.monotonic() < self._drawn + DRAW_SECONDS:
            return
        self._drawn = time.monotonic()
        self._live.refresh()

    def resized(self) -> None:
        """The terminal has other columns or rows now: what was drawn for the old ones is drawn anew."""
        if self._console.size == self._size:
            return
        self._size = self._console.size
        self._live.stop()
        self._console.clear()
        room = max(0, self._console.height - len(self._console.render_lines(self._render())) - 1)
        for line in list(self._lines)[-room:] if room else ():
            self._write(line)
        self._live = self._new_live()
        self._live.start(refresh=True)

    def _new_live(self) -> "Live":
        from rich.live import Live

        return Live(
            console=self._console,
            auto_refresh=False,
            transient=True,
            vertical_overflow="crop",
            get_renderable=self._render,
        )

    def _print(self, line: str, *, stamped: bool = False) -> None:
        self._lines.append(line)
        self._write(line, stamped=stamped)

    def _write(self, line: str, *, stamped: bool = False) -> None:
        from rich.text import Text

        text = Text(line)
        if stamped:
            text.stylize("dim", 0, 8)
        self._console.print(text)

    def _render(self) -> "Group":
        from rich.console import Group
        from rich.text import Text

        board, width = self._board, self._console.width
        parts: list[RenderableType] = [Text("─" * width, "dim")]
        for number, stage in board.stages.items():
            parts += self._stage(number, stage, width)
            if board.training is not None and board.training[0] == number:
                parts.append(self._training(width))
        if board.transfer is not None:
            moved = board.transfer
            sizes = f"{size(moved.done)} of {size(moved.total)}"
            parts += [Text(moved.what), _bars([_Bar("bytes", moved.done, moved.total, sizes)], width)]
        if board.idle:
            parts.append(Text(board.idle))
        parts.append(_sums(board))
        return Group(*parts)

    def _stage(self, number: int, stage: Stage, width: int) -> "list[RenderableType]":
        from rich.text import Text

        title = Text(f"Round {number}  ", "bold")
        if width < WIDE:
            title.append(f"{PHASES[stage.phase]} ({stage.phase + 1} of {len(PHASES)})", "cyan")
        else:
            for place, phase in enumerate(PHASES):
                style = "dim" if place < stage.phase else "bold cyan" if place == stage.phase else ""
                title.append("" if not place else " › ", "dim")
                title.append(phase, style)
        return [title] if not stage.awaited else [title, Text(stage.awaited)]

    def _training(self, width: int) -> "RenderableType":
        assert self._board.training is not None, "asked for where there is one"
        _, said = self._board.training
        steps = f"{said.step} of {said.steps}" if said.steps else f"{said.step}"
        budget = said.budget_bytes
        used = f"{size(said.memory_bytes)} of {size(budget)}" if budget else size(said.memory_bytes)
        rows = [
            _Bar("step", said.step, said.steps or 0, f"{steps}, {span(said.seconds_left)} left"),
            _Bar("loss", 0, 0, f"{said.loss:.3f}, {said.tokens_per_second:.0f} tokens/s"),
            _Bar("memory", said.memory_bytes, budget or 0, used),
        ]
        return _bars(rows, width)


class _Bar(NamedTuple):
    """``done`` of ``total``, in a bar if there is a total, and in words."""

    label: str
    done: float
    total: float
    words: str


def _bars(rows: Sequence[_Bar], width: int) -> "RenderableType":
    """A row each: the label, the words, and a bar where there is room for one."""
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    label, words = max(len(row.label) for row in rows), max(len(row.words) for row in rows)
    room = min(_BAR, width - label - words - 4)
    grid = Table.grid(padding=(0, 2))
    for row in rows:
        bar = ProgressBar(total=row.total, completed=row.done, width=room) if row.total and room >= _LEAST_BAR else ""
        grid.add_row(Text(row.label, "dim"), Text(row.words), bar)
    return grid


def _sums(board: Board) -> "Text":
    """What went up, and how the last rounds ended."""
    from rich.text import Text

    text = Text.assemble(("Sent ", "dim"), size(board.bytes_up))
    for place, past in enumerate(board.past):
        text.append("   Rounds " if not place else ", ", "dim")
        word = "counted" if past.counted else past.outcome if past.outcome != "published" else "without this one"
        text.append(f"{past.round} {word}", "green" if past.counted else "yellow")
    return text
