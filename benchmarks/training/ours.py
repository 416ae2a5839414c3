"""A row by the client's own trainer, in the child process that a participant's client would start."""

import asyncio
import shutil
import time

from edge_client.training import Failed, Finished, Planned, Progress, TrainJob, run_training

from .scenario import RECORDS_PER_STEP, Result, Row


def measure(row: Row, job: TrainJob) -> Result:
    """Train, watch."""
    shutil.rmtree(job.work, ignore_errors=True)
    return asyncio.run(_measure(row, job))


async def _measure(row: Row, job: TrainJob) -> Result:
    result = Result(row, "ended without a result")
    times = []
    async for event in run_training(job):
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
                return Result(row, f"{event.message} {event.advice}", predicted=result.predicted, plan=result.plan)
            case _:
                pass
    if len(times) > 1:
        result.tokens_per_s = (len(times) - 1) * RECORDS_PER_STEP * row.length / (times[-1] - times[0])
    return result
