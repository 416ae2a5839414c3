"""``run_training``, ``create_adapter`` and ``merge_adapter``: the children's life, as their callers see it."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from fedit_shared.errors import ProtocolError

from .events import Failed, Fetching, Finished, TrainEvent
from .failures import error_of
from .job import Created, CreateJob, Merged, MergeJob, TrainJob
from .process import Child

_MODULE = "edge_client.training"
_EVENTS = msgspec.msgpack.Decoder(TrainEvent)
_MADE = msgspec.msgpack.Decoder(Created | Merged | Failed | Fetching)


async def run_training(job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
    """Train in a child process; the last event is Finished or Failed, always.

    The same job with the same work folder goes on from its last checkpoint, whatever ended it before, and if it was
    finished, says so at once. Closing or cancelling the iterator stops the child, which ends the piece that it is at
    and saves its state, if it can do so within :data:`.process.GRACE`: use ``contextlib.aclosing`` where the loop may
    be left early.
    """
    async with await Child.start(_MODULE, threads=job.threads) as child:
        await child.send(job)
        while (body := await child.receive()) is not None:
            event: TrainEvent = _EVENTS.decode(body)
            yield event
            if isinstance(event, Finished | Failed):
                return
        yield await death(child)


async def create_adapter(job: CreateJob, fetching: Callable[[Fetching], None] = lambda event: None) -> Created:
    """Make a new adapter's folder in a child process. Raises UserError for a model or folder that cannot be used.

    ``fetching`` is told how far the download of a model from the hub is.
    """
    made = await _made(job, fetching)
    assert isinstance(made, Created)
    return made


async def merge_adapter(job: MergeJob, fetching: Callable[[Fetching], None] = lambda event: None) -> Merged:
    """Make one model of a model and an adapter, in the same way."""
    made = await _made(job, fetching)
    assert isinstance(made, Merged)
    return made


async def _made(job: CreateJob | MergeJob, fetching: Callable[[Fetching], None]) -> Created | Merged:
    async with await Child.start(_MODULE) as child:
        await child.send(job)
        while (body := await child.receive()) is not None:
            answer: Created | Merged | Failed | Fetching = _MADE.decode(body)
            match answer:
                case Created() | Merged():
                    return answer
                case Failed():
                    raise error_of(answer)
            fetching(answer)
        raise error_of(await death(child))


def read_delta(path: str | Path, size: int) -> NDArray[np.float32]:
    """The delta that Finished names: float32[size]. Raises ProtocolError for a file of another size."""
    delta = np.fromfile(path, dtype="<f4").astype(np.float32, copy=False)
    if delta.size != size:
        raise ProtocolError(f"{path} holds {delta.size} values; the round sums {size}.")
    return delta


async def death(child: Child) -> Failed:
    """What to say of a child that went without a last word."""
    status, stderr = await child.ended()
    how = f"was killed by signal {-status}" if status < 0 else f"ended with exit status {status}"
    advice = "Start again: it goes on from its last checkpoint."
    if status == -9:
        advice = "If nobody killed it, the machine ran out of memory: set a smaller --memory. " + advice
    return Failed(code="died", message=f"The child process {how}.", advice=advice, detail=stderr)
