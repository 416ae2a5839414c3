"""The simulator's worker processes: each runs schedules on its own copy of everything."""

from contextlib import ExitStack
from typing import NamedTuple

from .draw import draw
from .runner import Runner, runner
from .schedule import Schedule


class Result(NamedTuple):
    """One schedule's outcome, without its trace."""

    seed: int
    rule: str | None
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
        rule = found.failure.rule if found.failure else None
        results.append(Result(seed, rule, found.published, found.seconds, found.effects, len(schedule.ops)))
    return results


def shorten(seed: int, rule: str) -> tuple[Schedule, str, list[str]]:
    """The shortest part of the seed's schedule that breaks ``rule``; how, and the end of its trace."""
    shortest = Worker.runner.shorten(draw(seed), rule)
    failure = Worker.runner.run(shortest).failure
    assert failure is not None, "the shortened schedule fails"
    return shortest, failure.how, failure.trace
