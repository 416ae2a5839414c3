"""Arms run side by side on any number of workers: each gets its own replies in its own order, whatever dies."""

from collections.abc import Sequence
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Self

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.fedit.crew import Lost, Replied
from benchmarks.fedit.drive import PATIENCE, Arm, drive
from benchmarks.fedit.jobs import Job, Judge, Order, Reply, Scored
from benchmarks.fedit.journal import Judged
from benchmarks.fedit.replies import Replies
from benchmarks.fedit.view import View
from fedit_shared.errors import UserError


class Workers:
    """A crew in this process, whose workers end in any order, and some of whom die. A job's reply is its number."""

    def __init__(self, size: int, seed: int = 0, deaths: float = 0.0) -> None:
        self.size = size
        self.begun: list[Job] = []
        self._random, self._deaths = Random(seed), deaths
        self._jobs: dict[int, Job] = {}

    def begin(self, number: int, job: Job) -> None:
        assert len(self._jobs) < self.size
        self._jobs[number] = job
        self.begun.append(job)

    def wait(self) -> list[Replied | Lost]:
        ended = self._random.sample(sorted(self._jobs), self._random.randint(1, len(self._jobs)))
        return [self._end(number, self._jobs.pop(number)) for number in ended]

    def _end(self, number: int, job: Job) -> Replied | Lost:
        if self._random.random() < self._deaths:
            return Lost(number, "SIGKILL")
        assert isinstance(job, Judge)
        return Replied(number, reply_to(job.first))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def reply_to(number: int) -> Reply:
    return Scored(judged=Judged(losses=(float(number),), tokens=(1,)))


def order(arm: int, round_: int, place: int) -> Order:
    number = 10_000 * arm + 100 * round_ + place
    return Order(
        f"arm {arm}",
        round_,
        Judge(version=None, first=number, last=number + 1, max_length=64),
        f"{arm}, {round_}, {place}",
    )


def arm(number: int, rounds: Sequence[int], got: list[list[Reply]]) -> Arm:
    for round_, count in enumerate(rounds):
        got.append(list((yield [order(number, round_, place) for place in range(count)])))


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=5),
    size=st.integers(1, 6),
    seed=st.integers(0, 2**32),
    deaths=st.sampled_from([0.0, 0.1]),
)
def test_each_arm_gets_its_replies_in_order_whoever_ends_first_and_dies(
    tmp_path_factory: pytest.TempPathFactory, shape: list[list[int]], size: int, seed: int, deaths: float
) -> None:
    got: list[list[list[Reply]]] = [[] for _ in shape]
    arms = [arm(number, rounds, got[number]) for number, rounds in enumerate(shape)]
    crew = Workers(size, seed, deaths)
    try:
        drive(arms, crew, Replies(tmp_path_factory.mktemp("replies")), View(quiet=True))
    except UserError:
        assert max(crew.begun.count(job) for job in crew.begun) == PATIENCE
        return
    for number, rounds in enumerate(shape):
        expected = [[reply_to(10_000 * number + 100 * r + place) for place in range(c)] for r, c in enumerate(rounds)]
        assert got[number] == expected
    assert len(set(map(repr, crew.begun))) == sum(map(sum, shape))


def test_a_worker_alone_does_one_arm_after_the_other(tmp_path: Path) -> None:
    crew = Workers(1)
    drive([arm(number, [2, 1], []) for number in range(3)], crew, Replies(tmp_path), View(quiet=True))
    assert [job.first for job in crew.begun if isinstance(job, Judge)] == [
        *(0, 1, 100),
        *(10_000, 10_001, 10_100),
        *(20_000, 20_001, 20_100),
    ]


def test_what_an_earlier_run_has_replies_to_is_not_done_again_until_the_round_is_over(tmp_path: Path) -> None:
    replies = Replies(tmp_path)
    for place in (0, 2):
        replies.keep(order(0, 0, place), reply_to(place))
    got: list[list[Reply]] = []
    crew = Workers(2)
    drive([arm(0, [3], got)], crew, replies, View(quiet=True))
    assert [job.first for job in crew.begun if isinstance(job, Judge)] == [1]
    assert got == [[reply_to(place) for place in range(3)]]
    replies.forget("arm 0", 0)
    drive([arm(0, [3], got)], crew, replies, View(quiet=True))
    assert len(crew.begun) == 4


def test_a_reply_that_was_damaged_on_disk_counts_as_none(tmp_path: Path) -> None:
    replies = Replies(tmp_path)
    replies.keep(order(0, 0, 0), reply_to(0))
    [kept] = [path for path in tmp_path.rglob("*") if path.is_file()]
    kept.write_bytes(kept.read_bytes()[:-1])
    assert replies.find(order(0, 0, 0)) is None


def test_a_job_over_which_workers_keep_dying_is_given_up_with_advice(tmp_path: Path) -> None:
    crew = Workers(2, deaths=1.0)
    with pytest.raises(UserError, match=r"3 workers died one after the other \(SIGKILL\) at: 0, 0, 0") as caught:
        drive([arm(0, [1], [])], crew, Replies(tmp_path), View(quiet=True))
    assert "fewer workers" in caught.value.advice
    assert len(crew.begun) == PATIENCE
