"""Jobs that fail: tried again ever more slowly, and given up where only another program could do them. In virtual time,
with the real driver over the real ledger; what fails is the disk or the arithmetic below it."""

import asyncio
import errno
import gc
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from random import Random

import pytest
from cohorts import SERVER
from simulated import START, Simulated
from simulation.loop import VirtualLoop

from agg_server.driver import Driver
from agg_server.driver import driver as drivers
from agg_server.driver.desk import Desk
from agg_server.errors import UnavailableError
from agg_server.ledger import Ledger
from agg_server.rounds.events import Mustered, Offered
from agg_server.rounds.state import Phase
from agg_server.storage.rooms import Rooms
from agg_server.watching.metrics import Metrics
from fedit_shared.secagg import Aggregator

HOUR = 3600.0
PAUSES = [5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 300.0]
BUG = ZeroDivisionError("division by zero")


class Faulty(Rooms):
    """Rooms of which ``broken`` raises ``error`` while there is one; ``times``: when it did."""

    error: Exception | None = None
    broken = ""

    def attach(self, clock: Callable[[], float], broken: str, error: Exception | None) -> None:
        self.clock, self.broken, self.error, self.times = clock, broken, error, list[float]()

    def store_sum(self, cohort: bytes, content: bytes) -> None:
        self._fail("store_sum")
        super().store_sum(cohort, content)

    def read_sum(self, cohort: bytes) -> bytes:
        self._fail("read_sum")
        return super().read_sum(cohort)

    def clear(self, cohort: bytes) -> None:
        self._fail("clear")
        super().clear(cohort)

    def _fail(self, name: str) -> None:
        if name == self.broken and self.error is not None:
            self.times.append(self.clock())
            raise self.error


class Served:
    """The real driver over a simulated federation, for as many virtual seconds as :meth:`run` says."""

    def __init__(self, sim: Simulated, broken: str = "", error: Exception | None = BUG) -> None:
        self.loop = VirtualLoop(Random(1))
        self.start = sim.now
        self.rooms = Faulty(sim.tools.blobs)
        self.rooms.attach(self.clock, broken, error)
        self.metrics = Metrics()
        self.ledger = Ledger(sim.database, SERVER)
        self.tools = sim.tools._replace(rooms=self.rooms)
        self.sim = sim

    def clock(self) -> float:
        return self.start + self.loop.time()

    def run(self, during: Callable[[], object], seconds: float) -> None:
        """Serve; ``during`` is called after ``seconds``, just before the end."""

        async def go() -> None:
            driver = Driver(
                database=self.sim.database,
                ledger=self.ledger,
                desk=Desk(self.ledger, SERVER, self.sim.config),
                tools=self.tools,
                plans=self.sim.plans,
                metrics=self.metrics,
                clock=self.clock,
                threads=2,
            )
            await driver.start()
            await asyncio.sleep(seconds)
            during()
            await driver.stop()

        self.loop.run_until_complete(go())
        self.start += self.loop.time()
        self.loop.close()
        self.loop = VirtualLoop(Random(1))

    def failures(self, job: str) -> float:
        name = f'fedit_job_failures_total{{job="{job}"}} '
        [line] = [line for line in self.metrics.page().decode().splitlines() if line.startswith(name)]
        return float(line.removeprefix(name))


def prepared(folder: Path, *, answers: int, rounds: int = 0) -> Simulated:
    """A federation of four in whose round everything is in but the cohort's sum; its members answer for 3 h."""
    sim = Simulated(folder, count=4, rounds=rounds, cohort_target=4, answer_window="3h")
    sim.muster(*sim.devices)
    for step in (sim.contribute, sim.report, sim.vote):
        step(*sim.devices)
    sim.answer(*sim.devices[:answers], settle=False)
    return sim


def assert_paused(times: list[float], seconds: list[float]) -> None:
    """Between the attempts lie these pauses, and a little for the work of the threads."""
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(gaps) == len(seconds)
    assert all(pause <= gap < pause + 3 for gap, pause in zip(gaps, seconds, strict=True)), gaps


def test_a_cohort_whose_sum_the_server_cannot_open_ends_and_the_next_round_opens(tmp_path: Path):
    sim = prepared(tmp_path, answers=4)
    served = Served(sim, "store_sum")
    served.run(lambda: None, HOUR)
    assert_paused(served.rooms.times, PAUSES)
    assert served.failures("OpenSum") == 8
    told = sim.finished(1)
    assert (told.outcome, told.cohorts[0].outcome) == ("failed", "failed")
    assert told.reason == told.cohorts[0].reason
    assert told.reason == "OpenSum failed 8 times (ZeroDivisionError): the server's log has more"
    current = served.ledger.current
    assert current is not None
    assert (current.number, current.opened.version) == (2, 0)


def test_a_sum_that_cannot_be_opened_is_not_given_up_while_more_answers_may_come(tmp_path: Path):
    sim = prepared(tmp_path, answers=3)
    served = Served(sim, "store_sum")
    phases: list[Phase] = []
    served.run(lambda: phases.append(served.ledger.cohort(sim.cohort.id)[1].phase), HOUR)
    assert phases == [Phase.ANSWER]
    assert len(served.rooms.times) > 8
    served.run(lambda: None, 4 * HOUR)  # later than anybody has promised to answer
    assert sim.finished(1).outcome == "failed"


def test_a_step_that_cannot_be_taken_ends_the_round_with_the_old_adapter_and_signed_results(tmp_path: Path):
    sim = prepared(tmp_path, answers=4)
    served = Served(sim, "read_sum")
    served.run(lambda: None, HOUR)
    told = sim.finished(1)
    assert (told.outcome, told.version) == ("failed", None)
    assert "TakeStep failed 8 times" in told.reason
    assert told.cohorts[0].outcome == "failed"
    for device in sim.devices:
        result = served.ledger.result_for(1, device.identity)
        assert result is not None
        assert (result.outcome, result.adapter.hex()) == ("failed", told.adapter_before)
    assert served.ledger.newest_version == 0


def test_survivors_that_cannot_be_chosen_end_in_a_vote_that_gives_updates_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    sim = Simulated(tmp_path, count=4, cohort_target=4)
    sim.muster(*sim.devices)
    sim.contribute(*sim.devices)
    sim.report(*sim.devices, settle=False)

    def broken(aggregator: Aggregator) -> None:
        raise BUG

    monkeypatch.setattr(Aggregator, "choose_survivors", broken)
    seen: list[tuple[Phase, bytes | None, str]] = []
    served = Served(sim)

    def look() -> None:
        cohort = served.ledger.cohort(sim.cohort.id)[1]
        seen.append((cohort.phase, cohort.aggregator.survivors, cohort.given_up))

    served.run(look, HOUR)
    reason = "ChooseSurvivors failed 8 times (ZeroDivisionError): the server's log has more"
    assert seen == [(Phase.GIVEN_UP, b"", reason)]
    assert sim.finished(1).reason == reason


def test_cohorts_that_cannot_be_formed_end_the_round(tmp_path: Path):
    sim = Simulated(tmp_path, count=4, cohort_target=4)
    for device in sim.devices:
        sim.record(Offered(identity=device.identity))
        muster = sim.make_muster(device)
        assert isinstance(muster, Mustered)
        sim.record(muster)
    served = Served(sim)

    def random(size: int) -> bytes:
        if size == 16:  # a cohort's name
            raise BUG
        return bytes(size)

    served.tools = served.tools._replace(random=random)
    served.run(lambda: None, HOUR)
    assert sim.finished(1).outcome == "failed"
    assert "FormCohorts failed 8 times" in sim.finished(1).reason
    assert served.ledger.current is not None
    assert served.ledger.current.number == 2


def test_a_full_disk_is_waited_for_however_long_and_asked_every_five_minutes(tmp_path: Path):
    sim = prepared(tmp_path, answers=4)
    served = Served(sim, "store_sum", OSError(errno.ENOSPC, "No space left on device"))
    served.run(lambda: None, 2 * HOUR)
    times = served.rooms.times
    assert_paused(times, PAUSES + [300.0] * (len(times) - 8))
    assert served.failures("OpenSum") == len(times) > 25
    served.rooms.error = None
    served.run(lambda: None, 60.0)
    assert sim.finished(1).outcome == "published"


def test_a_bug_that_comes_after_many_passing_failures_is_tried_as_often_as_any(tmp_path: Path):
    sim = prepared(tmp_path, answers=4)
    served = Served(sim, "store_sum", OSError(errno.ENOSPC, "No space left on device"))

    def change() -> None:
        served.rooms.error = BUG

    served.loop.call_later(HOUR, change)
    served.run(lambda: None, 2 * HOUR)
    assert sum(time > START + HOUR for time in served.rooms.times) == 8
    assert sim.finished(1).outcome == "failed"


def test_uploads_that_could_not_be_removed_at_a_rounds_end_go_once_they_can_be(tmp_path: Path):
    sim = prepared(tmp_path, answers=4)
    served = Served(sim, "clear", OSError(errno.EIO, "Input/output error"))
    left: list[set[bytes]] = []

    def mend() -> None:
        left.append(served.rooms.occupied())
        served.rooms.error = None

    served.loop.call_later(60.0, mend)
    served.run(lambda: left.append(served.rooms.occupied()), 120.0)
    assert sim.finished(1).outcome == "published"
    assert left == [{sim.cohort.id}, set()]
    assert served.ledger.current is not None
    assert served.ledger.current.number == 2


@pytest.mark.parametrize("failing", ["standing", "next_proposal"])
def test_a_database_that_fails_at_a_rounds_end_leaves_nothing_undone(
    failing: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    sim = prepared(tmp_path, answers=4, rounds=1)
    served = Served(sim)
    real, failed = getattr(drivers, failing), list[float]()

    def locked(*arguments: object) -> object:
        current = served.ledger.current
        if current is not None and current.phase is Phase.OVER and not failed:
            failed.append(served.clock())
            raise UnavailableError("The database is locked by another program.")
        return real(*arguments)

    monkeypatch.setattr(drivers, failing, locked)
    served.run(lambda: None, 60.0)
    assert len(failed) == 1
    assert served.rooms.occupied() == set()
    assert "fedit_finished 1.0" in served.metrics.page().decode()
    gc.collect()  # a task whose error nobody has seen says so then
    assert "never retrieved" not in caplog.text
