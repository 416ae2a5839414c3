"""Runs arms at the same time, each a generator that yields orders and is sent their replies."""

import heapq
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field

from fedit_shared.errors import UserError

from .crew import Crew, Lost
from .jobs import Order, Reply
from .replies import Replies
from .view import View

Arm = Generator[Sequence[Order], Sequence[Reply], None]
PATIENCE = 3
"""Workers that may die over one job."""


@dataclass
class _Batch:
    """What an arm waits for."""

    arm: Arm
    rank: int
    orders: Sequence[Order] = ()
    begun: bool = False
    replies: dict[int, Reply] = field(default_factory=dict)


@dataclass
class _Task:
    """One order that is under way or waits for a worker."""

    batch: _Batch
    place: int
    deaths: int = 0

    @property
    def order(self) -> Order:
        return self.batch.orders[self.place]


def drive(arms: Sequence[Arm], crew: Crew, replies: Replies, view: View) -> None:
    """Every arm to its end. Of orders that wait, those of the first arms go first. A job whose reply an earlier run
    kept is not done again. Raises UserError for what a person has to mend."""
    waiting: list[tuple[int, int]] = []
    tasks: dict[int, _Task] = {}
    count = 0
    for rank, arm in enumerate(arms):
        count = _advance(_Batch(arm, rank), replies, view, tasks, waiting, count)
    running: set[int] = set()
    while tasks:
        while waiting and len(running) < crew.size:
            _, number = heapq.heappop(waiting)
            order = tasks[number].order
            view.begin(number, order.what, order.before)
            crew.begin(number, order.job)
            running.add(number)
        for happening in crew.wait():
            running.remove(happening.number)
            task = tasks[happening.number]
            if isinstance(happening, Lost):
                _mourn(task, happening.reason, view)
                view.lost(happening.number)
                heapq.heappush(waiting, (task.batch.rank, happening.number))
                continue
            del tasks[happening.number]
            view.end(happening.number, task.order.steps)
            replies.keep(task.order, happening.reply)
            task.batch.replies[task.place] = happening.reply
            if len(task.batch.replies) == len(task.batch.orders):
                count = _advance(task.batch, replies, view, tasks, waiting, count)


def _advance(
    batch: _Batch, replies: Replies, view: View, tasks: dict[int, _Task], waiting: list[tuple[int, int]], count: int
) -> int:
    """Send the arm its replies; put down the orders that it yields then, from number ``count`` on. The next number."""
    while len(batch.replies) == len(batch.orders):
        try:
            if batch.begun:
                orders = batch.arm.send([batch.replies[place] for place in range(len(batch.orders))])
            else:
                orders = next(batch.arm)
        except StopIteration:
            return count
        batch = _Batch(batch.arm, batch.rank, orders, begun=True)
        for place, order in enumerate(orders):
            if (kept := replies.find(order)) is not None:
                batch.replies[place] = kept
                view.skip(order.steps)
    for place in range(len(batch.orders)):
        if place not in batch.replies:
            tasks[count] = _Task(batch, place)
            heapq.heappush(waiting, (batch.rank, count))
            count += 1
    return count


def _mourn(task: _Task, reason: str, view: View) -> None:
    task.deaths += 1
    if task.deaths == PATIENCE:
        raise UserError(
            f"{PATIENCE} workers died one after the other ({reason}) at: {task.order.what}.",
            advice="If memory ran out, take fewer workers. The same command goes on from here.",
        )
    view.say(f"A worker died ({reason}); another one goes on with: {task.order.what}")
