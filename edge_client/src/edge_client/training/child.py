"""What every child does around its work: read the request, turn whatever goes wrong into one Failed."""

import sys
import traceback
from collections.abc import Callable

import msgspec

from edge_client.disk import FULL
from fedit_shared.errors import FeditError, UserError

from .channel import Channel
from .events import Failed, Fetching
from .job import CreateJob, MergeJob, TrainJob

Job = TrainJob | CreateJob | MergeJob

_OUT_OF_MEMORY = Failed(
    code="memory",
    message="Memory ran out.",
    advice="Give it more memory, or close other programs.",
)


def main() -> None:
    """Do the one job that comes over stdin."""
    channel = Channel()
    body = channel.receive()
    if body is None:
        sys.exit("This is a child process of the client, not a command: see `fedit-client --help`.")
    channel.watch()
    with_failures(channel, lambda: _work(msgspec.msgpack.decode(body, type=Job), channel))


def _work(job: Job, channel: Channel) -> None:
    if isinstance(job, TrainJob):
        from .worker import train

        train(job, channel)
        return

    def fetching(here: int, total: int) -> None:
        channel.emit(Fetching(model=job.model, here=here, total=total))

    if isinstance(job, CreateJob):
        from .create import create

        channel.emit(create(job, fetching))
    else:
        from .merge import merge

        channel.emit(merge(job, fetching))


def with_failures(channel: Channel, work: Callable[[], None]) -> None:
    """Do ``work``; an exception becomes one Failed event, and its traceback goes to stderr, for the bug report."""
    try:
        work()
    except Exception as error:
        if not isinstance(error, UserError):
            traceback.print_exc()
        channel.emit(failure(error))


def failure(error: Exception) -> Failed:
    """What to tell a person of ``error``."""
    if isinstance(error, FeditError):
        return Failed(code=error.code, message=error.message, advice=error.next_step)
    if isinstance(error, OSError) and error.errno in FULL:
        return Failed(code="disk", message="The disk is full.", advice="Make room and start again.")
    if _is_out_of_memory(error):
        return _OUT_OF_MEMORY
    line = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return Failed(code="internal", message=f"Training failed: {line}", advice="Please report this as a bug.")


def _is_out_of_memory(error: Exception) -> bool:
    if isinstance(error, MemoryError):
        return True
    if "torch" not in sys.modules:
        return False
    from .memory import is_out_of_memory

    return is_out_of_memory(error)
