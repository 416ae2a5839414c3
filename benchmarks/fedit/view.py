"""What a person sees while an experiment runs: a line for each finished round, and one bar over all steps."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge_client.training import events


class View:
    """A context manager. ``quiet``: nothing is shown."""

    def __init__(self, *, quiet: bool = False) -> None:
        self._console = Console(stderr=True, quiet=quiet, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, {task.fields[speed]:.0f} tokens/s"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=quiet,
        )
        self._bar = self._progress.add_task("", total=None, speed=0.0)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, total: int, done: int) -> None:
        """So many steps in all, ``done`` of them before a restart."""
        self._progress.update(self._bar, total=total, completed=done)

    def now(self, what: str) -> None:
        """What is being done."""
        self._progress.update(self._bar, description=what)

    def event(self, event: events.TrainEvent) -> None:
        """What a trainer says."""
        if isinstance(event, events.Progress):
            self._progress.update(self._bar, advance=1, speed=event.tokens_per_second)
        elif isinstance(event, events.BackedOff):
            self.say(f"Memory ran out, {event.micro_batch} records go at a time from now on: {event.reason}")

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False)
