"""Who does the jobs: this process, or workers of which each holds one base model."""

from collections.abc import Callable
from types import TracebackType
from typing import NamedTuple, Protocol, Self

from edge_client.training.events import TrainEvent
from fedit_shared.errors import UserError

from .jobs import DECODE_ANSWER, Failed, Job, Reply
from .station import Station

Tell = Callable[[int, TrainEvent], None]
"""Is told of what a trainer says, with the number of its job."""
Say = Callable[[str], None]
"""Is told of what a person should know: a fallback in loading, skipped records."""


class Replied(NamedTuple):
    """A job is done."""

    number: int
    reply: Reply


def replied(number: int, data: bytes) -> Replied:
    """What a worker has sent for job ``number``. Raises UserError where it says that it failed."""
    reply = DECODE_ANSWER.decode(data)
    if isinstance(reply, Failed):
        raise UserError(reply.message, advice=reply.advice)
    return Replied(number, reply)


class Lost(NamedTuple):
    """The worker died that had this job; there is another one in its place."""

    number: int
    reason: str


class Crew(Protocol):
    """Up to ``size`` jobs are done at the same time. A context manager, which leaves no process behind."""

    size: int

    def begin(self, number: int, job: Job) -> None:
        """Let a free worker do ``job``; there has to be one."""

    def wait(self) -> list[Replied | Lost]:
        """What became of jobs, as soon as something did. Raises UserError for what a person has to mend."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Here:
    """This process, one job at a time; the model is loaded for the first one."""

    size = 1

    def __init__(self, open_station: Callable[[], Station], tell: Tell) -> None:
        self._open = open_station
        self._tell = tell
        self._station: Station | None = None
        self._job: tuple[int, Job] | None = None

    def begin(self, number: int, job: Job) -> None:
        """See :class:`Crew`."""
        self._job = number, job

    def wait(self) -> list[Replied | Lost]:
        """See :class:`Crew`."""
        assert self._job is not None
        number, job = self._job
        self._station = self._station or self._open()
        return [Replied(number, self._station.do(job, lambda event: self._tell(number, event)))]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._station = None
