"""The simulator's worker processes: each runs schedules on its own copy of everything."""

from contextlib import ExitStack
from typing import NamedTuple

from .draw import draw
from .runner import Runner, runner
from .schedule import Schedule
from .world import Failure


class Result(NamedTuple):
    """One schedule's outcome, with a trace where it failed."""

    seed: int
    failure: Failure | None
    published: int
    seconds: float
    effects: int
    operations: int


class Worker:
    """One for each process of the pool."""

    runner: Runner
    stack = ExitStack()


def start(strategy: str = "fedavg") -> None:
    """Make this process a worker."""
    Worker.runner = Worker.stack.enter_context(runner(strategy))


def run(seeds: range) -> list[Result]:
    """The outcomes of these seeds' schedules."""
    results = []
    for seed in seeds:
        schedule = draw(seed)
        found = Worker.runner.run(schedule)
        results.append(Result(seed, found.failure, found.published, found.seconds, found.effects, len(schedule.ops)))
    return results


def shorten(seed: int, rule: str) -> tuple[Schedule, Failure] | None:
    """The shortest part of the seed's schedule that breaks ``rule``, and how. None if here it does not break: what it
    came to then depends on the machine, or on what ran before it in the same process."""
    whole = draw(seed)
    if (failure := Worker.runner.run(whole).failure) is None or failure.rule != rule:
        return None
    shortest = Worker.runner.shorten(whole, rule)
    failure = Worker.runner.run(shortest).failure
    return (shortest, failure) if failure is not None else None
