"""A row by the client's own trainer, in a child process like the one that a participant's client would start."""

import asyncio
import shutil
import time

import msgspec

from edge_client.training import Failed, Finished, Planned, Progress, TrainEvent, TrainJob
from edge_client.training.process import Child
from edge_client.training.run import death

from .scenario import RECORDS_PER_STEP, TOO_LATE, Result, Row

_EVENTS = msgspec.msgpack.Decoder(TrainEvent)


def measure(row: Row, job: TrainJob, seconds: float) -> Result:
    """Train, watch; for at most ``seconds``."""
    shutil.rmtree(job.work, ignore_errors=True)
    return asyncio.run(_measure(row, job, seconds))


async def _measure(row: Row, job: TrainJob, seconds: float) -> Result:
    result = Result(row, TOO_LATE)
    times: list[float] = []
    try:
        async with asyncio.timeout(seconds), await Child.start("benchmarks.training.child", grace=1.0) as child:
            await child.send(job)
            while result.outcome == TOO_LATE:
                body = await child.receive()
                _note(result, times, await death(child) if body is None else _EVENTS.decode(body))
    except TimeoutError:
        return Result(row, TOO_LATE, predicted=result.predicted, plan=result.plan)
    if result.outcome == "done" and len(times) > 1:
        result.tokens_per_s = (len(times) - 1) * RECORDS_PER_STEP * row.length / (times[-1] - times[0])
    return result


def _note(result: Result, times: list[float], event: TrainEvent) -> None:
    match event:
        case Planned():
            result.predicted = event.predicted_bytes
            again = f", {event.recomputed} of {event.layers} layers again" if event.recomputed else ""
            result.plan = f"{event.micro_batch} records at a time, {event.compute_dtype}{again}"
        case Progress():
            times.append(time.monotonic())
            result.losses.append(event.loss)
        case Finished():
            result.outcome, result.peak = "done", event.peak_bytes
        case Failed():
            result.outcome, result.losses = f"{event.message} {event.advice}", []
        case _:
            pass
