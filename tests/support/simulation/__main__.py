"""Simulates random schedules of faults against the real client and server.

``python -m simulation --schedules 300 --seed 1`` runs the schedules of seeds 1 … 300. The first that breaks a rule is
shortened and shown, and the exit status is 1. ``--schedule JSON`` runs one again, with its whole trace; ``--kept FILE``
runs those that once broke a rule.
"""

import argparse
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import msgspec

from fedit_shared.strategies import STRATEGIES

from . import pool as workers
from .pool import Result, Worker
from .schedule import Kept, Schedule
from .world import Failure

_CHUNK = 4


def _show(broken: Result, failure: Failure, strategy: str) -> None:
    """At once as it was seen; then, which takes minutes, as short as it can be."""
    print("\n".join(failure.trace))
    print(f"\nSeed {broken.seed} breaks the rule {failure.rule!r}: {failure.how}", flush=True)
    with ProcessPoolExecutor(1, get_context("spawn"), workers.start, (strategy,)) as pool:
        shortened = pool.submit(workers.shorten, broken.seed, failure.rule).result()
    if shortened is None:
        print("\nAlone it does not: something is not the seed's. Above is all that there is of it.")
        return
    schedule, failure = shortened
    print(f"\nThe shortest schedule that does: {failure.how}\n{schedule}\n")
    print("\n".join(failure.trace))
    print(f"\nAgain: python -m simulation --schedule '{msgspec.json.encode(schedule).decode()}'")


def _run_all(first: int, count: int, jobs: int, strategy: str) -> int:
    begun = time.monotonic()
    results: list[Result] = []
    with ProcessPoolExecutor(jobs, get_context("spawn"), workers.start, (strategy,)) as pool:
        end = first + count
        chunks = [range(seed, min(seed + _CHUNK, end)) for seed in range(first, end, _CHUNK)]
        for some in pool.map(workers.run, chunks):
            results += some
            if len(results) % 500 < _CHUNK and len(results) < count:
                print(f"{len(results)} of {count} schedules, {time.monotonic() - begun:.0f} s", flush=True)
            for broken in some:
                if broken.failure is not None:
                    pool.shutdown(wait=False, cancel_futures=True)
                    _show(broken, broken.failure, strategy)
                    return 1
    published, effects = sum(r.published for r in results), sum(r.effects for r in results)
    print(
        f"{count} schedules from seed {first}: no rule is broken. {sum(r.operations for r in results)} faults, "
        f"{published} versions published, {effects} effects, "
        f"{sum(r.seconds for r in results) / 3600:.0f} virtual hours, {time.monotonic() - begun:.0f} s."
    )
    return 0


def _run_one(text: str, strategy: str) -> int:
    workers.start(strategy)
    schedule = msgspec.json.decode(text, type=Schedule)
    found = Worker.runner.run(schedule, keep=10**6)
    print("\n".join(found.trace))
    print(schedule)
    Worker.stack.close()
    if found.failure is None:
        print(f"No rule is broken; {found.published} versions published.")
        return 0
    print(f"The rule {found.failure.rule!r} is broken: {found.failure.how}")
    return 1


def _run_kept(file: str) -> int:
    workers.start()
    broken = 0
    for kept in msgspec.json.decode(Path(file).read_bytes(), type=list[Kept]):
        found = Worker.runner.run(kept.schedule)
        print(f"{found.digest:08x} {found.failure.rule if found.failure else 'ends well'}: {kept.claim}")
        broken += found.failure is not None
    Worker.stack.close()
    return 1 if broken else 0


def main() -> int:
    parser = argparse.ArgumentParser(description="Simulates random schedules of faults.")
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--strategy", choices=list(STRATEGIES), default="fedavg")
    parser.add_argument("--schedule", metavar="JSON")
    parser.add_argument("--kept", metavar="FILE")
    options = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of bytes must have the same order in every run
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "simulation", *sys.argv[1:]])
    if options.schedule:
        return _run_one(options.schedule, options.strategy)
    if options.kept:
        return _run_kept(options.kept)
    return _run_all(options.seed, options.schedules, options.jobs, options.strategy)


if __name__ == "__main__":
    sys.exit(main())
