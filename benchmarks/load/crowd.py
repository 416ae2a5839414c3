"""All devices at once, round after round, and what one round came to."""

import asyncio
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
import numpy as np

from .device import Device, Fate, Pool
from .exact import is_exact
from .operator import Operator, quantile, total
from .scenario import Scenario

_JOINING = 32
_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None


class RoundFigures(msgspec.Struct, frozen=True, kw_only=True):
    """One round. Times in seconds: ``seconds`` from the first check-in to the last result, of which ``upload_seconds``
    until the last receipt; ``phases``: how long each lasted, the mean over the cohorts (where somebody has vanished,
    uploads are awaited until their window ends); ``server_cpu``: of the server's process. ``upload_mb_per_second``: of
    masked vectors, until the last receipt. ``loop_lag_p99_ms``: the upper border of the bucket that holds the 99th of
    100 observations. ``refused``: requests not answered by 2xx; ``troubles``: what devices told of the line."""

    round: int
    seconds: float
    upload_seconds: float
    phases: dict[str, float]
    server_cpu: float
    requests: int
    requests_per_second: float
    upload_bytes: int
    upload_mb_per_second: float
    peak_mb: float
    loop_lag_p99_ms: float
    cohorts: int
    dealt: int
    summed: int
    exact: bool
    refused: int
    troubles: int


@asynccontextmanager
async def crowd(operator: Operator, scenario: Scenario, say: Callable[[str], None]) -> AsyncIterator[list[Device]]:
    """All devices, joined."""
    async with AsyncExitStack() as stack:
        scratch = stack.enter_context(tempfile.TemporaryDirectory(dir=_MEMORY))
        threads = stack.enter_context(ThreadPoolExecutor(max(2, os.cpu_count() or 2)))
        values = np.random.default_rng(1).normal(0, 1e-3, scenario.dimension + 2**16).astype(np.float32)
        pool = Pool(values, threads, asyncio.Semaphore(scenario.busy), Path(scratch))
        link = operator.invite(scenario.devices)
        devices = [await stack.enter_async_context(Device(link, i, pool)) for i in range(scenario.devices)]
        say(f"{scenario.devices} devices join")
        for first in range(0, len(devices), _JOINING):
            await asyncio.gather(*(device.join() for device in devices[first : first + _JOINING]))
        yield devices


def fate(scenario: Scenario, round: int) -> Callable[[int], Fate]:
    """By its place in the roster: one in ``vanish`` of each cohort vanishes, others in each round."""

    def of(place: int) -> Fate:
        turn, rest = divmod(place + round, scenario.vanish or 1)
        if rest or not scenario.vanish:
            return Fate.ENDS
        return Fate.VANISHES_UNHEARD if turn % 2 else Fate.VANISHES_COUNTED

    return of


async def play(operator: Operator, scenario: Scenario, devices: Sequence[Device], round: int) -> RoundFigures:
    """One round, and whether each cohort's sum is exact."""
    operator.forget_peak()
    troubles = sum(len(device.troubles) for device in devices)
    before, cpu = await asyncio.to_thread(operator.metrics), operator.cpu_seconds()
    begun = time.monotonic()
    ends = fate(scenario, round)
    parts = await asyncio.gather(*(device.take_part(round - 1, ends) for device in devices))
    seconds = time.monotonic() - begun
    cpu, peak = operator.cpu_seconds() - cpu, operator.peak_bytes()
    after = await asyncio.to_thread(operator.metrics)
    told = (await asyncio.to_thread(operator.rounds))[round - 1]
    shares = {d.identity.hex(): share for d, share in zip(devices, parts, strict=True) if share is not None}
    exact = [await asyncio.to_thread(is_exact, cohort, shares) for cohort in told["cohorts"]]
    upload = max(device.dealt_at for device in devices) - begun

    def grown(name: str) -> float:
        return total(after, name) - total(before, name)

    uploaded = sum(cohort["upload_bytes"] * len(cohort["dealt"]) for cohort in told["cohorts"])
    return RoundFigures(
        round=round,
        seconds=seconds,
        upload_seconds=upload,
        phases=phase_means(before, after),
        server_cpu=cpu,
        requests=int(grown("fedit_requests_total")),
        requests_per_second=grown("fedit_requests_total") / seconds,
        upload_bytes=uploaded,
        upload_mb_per_second=uploaded / upload / 1e6,
        peak_mb=peak / 1e6,
        loop_lag_p99_ms=1000 * quantile(before, after, "fedit_loop_lag_seconds", 0.99),
        cohorts=len(told["cohorts"]),
        dealt=sum(len(cohort["dealt"]) for cohort in told["cohorts"]),
        summed=sum(len(cohort["survivors"]) for cohort in told["cohorts"]),
        exact=told["outcome"] == "published" and all(exact),
        refused=int(sum(after[key] - before.get(key, 0.0) for key in after if _is_refusal(key))),
        troubles=sum(len(device.troubles) for device in devices) - troubles,
    )


def _is_refusal(key: str) -> bool:
    return key.startswith("fedit_requests_total") and 'status="2' not in key


def phase_means(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How long each phase lasted between two readings of the metrics, in seconds: the mean."""
    prefix, found = 'fedit_phase_seconds_sum{phase="', {}
    for key in after:
        if key.startswith(prefix):
            name = key[len(prefix) :].partition('"')[0]
            seconds, count = (after[other] - before.get(other, 0.0) for other in (key, key.replace("_sum{", "_count{")))
            if count:
                found[name] = seconds / count
    return found
