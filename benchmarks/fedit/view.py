"""What a person sees while an experiment runs: a line for each finished round, and one bar over all workers' steps."""

from dataclasses import dataclass
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from edge_client.training import events

_SHOWN = 2
"""Jobs whose names fit beside the bar."""


@dataclass
class _Job:
    what: str
    before: int
    steps: int = 0
    speed: float = 0.0


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
        self._jobs: dict[int, _Job] = {}
        self._done = 0

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def expect(self, total: int, done: int) -> None:
        """So many steps in all, ``done`` of them before a restart."""
        self._done = done
        self._progress.update(self._bar, total=total, completed=done)

    def now(self, what: str) -> None:
        """What the driver does."""
        self._progress.update(self._bar, description=what)

    def begin(self, number: int, what: str, before: int) -> None:
        """A worker has a job now; ``before``: steps of its work that other jobs have done."""
        self._jobs[number] = _Job(what, before)
        self._show()

    def event(self, number: int, event: events.TrainEvent) -> None:
        """What a trainer says."""
        job = self._jobs[number]
        if isinstance(event, events.Progress):
            job.steps, job.speed = event.step - job.before, event.tokens_per_second
            self._show()
        elif isinstance(event, events.BackedOff):
            self.say(f"Memory ran out, {event.micro_batch} records go at a time from now on: {event.reason}")

    def end(self, number: int, steps: int) -> None:
        """The job is done: so many steps."""
        del self._jobs[number]
        self.skip(steps)

    def lost(self, number: int) -> None:
        """The job has no worker any more."""
        del self._jobs[number]
        self._show()

    def skip(self, steps: int) -> None:
        """So many steps are done, or were."""
        self._done += steps
        self._show()

    def _show(self) -> None:
        jobs = list(self._jobs.values())
        more = f" and {len(jobs) - _SHOWN} more" if len(jobs) > _SHOWN else ""
        self._progress.update(
            self._bar,
            completed=self._done + sum(job.steps for job in jobs),
            description=" · ".join(job.what for job in jobs[:_SHOWN]) + more if jobs else None,
            speed=sum(job.speed for job in jobs),
        )

    def say(self, line: str) -> None:
        """A line that stays."""
        self._console.print(line, markup=False)
