"""What a client makes sure of around a training child: the round's time, and room on the disk."""

import asyncio
import shutil
import time
from collections.abc import AsyncGenerator, Callable
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from cohorts import Cohort

from edge_client.client import Event, Notice
from edge_client.client.trainer import TooSlowError, Train, obtain_update
from edge_client.data import DataSource
from edge_client.state import DiskError, FederationState, Preferences
from edge_client.training import Failed, Loading, TrainEvent, TrainJob
from edge_client.training.failures import ModelError
from edge_client.yielding import ALWAYS, Gate, Observation
from fedit_shared.errors import FeditError
from fedit_shared.messages import Offer, encode

ADAPTER = b"adapter"
TRAIN_UNTIL = 1000


async def hangs(job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
    yield Loading(part="adapter")
    await asyncio.Event().wait()


def obtain(
    folder: Path,
    *,
    train: Train = hangs,
    told: Callable[[Event], None] = print,
    clock: Callable[[], float] = time.time,
    **changed: Any,
) -> None:
    """Train for an offer of an adapter that is here already."""
    task = Cohort(3).session().task
    offer = Offer(
        task=encode(task),
        round=1,
        adapter=sha256(ADAPTER).digest(),
        adapter_size=len(ADAPTER),
        train_until=int(time.time()) + 1,
        not_after=int(time.time()) + 100,
        signature=bytes(64),
    )

    async def go(state: FederationState) -> None:
        gate = Gate(ALWAYS, pause=lambda: None, observe=Observation, clock=clock, told=print)
        watch = asyncio.create_task(gate.watch())
        try:
            await obtain_update(
                msgspec.structs.replace(offer, **changed),
                task,
                state=state,
                preferences=Preferences(data=DataSource(path="none")),
                transport=SimpleNamespace(base=0.01),
                train=train,
                emit=told,
                gate=gate,
                clock=clock,
            )
        finally:
            watch.cancel()

    with FederationState(folder) as state:
        state.adapter_path(offer.adapter).write_bytes(ADAPTER)
        asyncio.run(go(state))


def test_a_training_that_says_nothing_any_more_ends_with_the_time_that_the_round_has_for_it(tmp_path: Path) -> None:
    with pytest.raises(TooSlowError, match="time for training is over"):
        obtain(tmp_path)


class Failing:
    """A trainer whose children all end with ``code``; the round's time is over with the third."""

    def __init__(self, code: str) -> None:
        self.children = 0
        self._code = code

    async def train(self, job: TrainJob) -> AsyncGenerator[TrainEvent, None]:
        self.children += 1
        yield Failed(code=self._code, message="It is not there.", advice="Look.")

    def clock(self) -> float:
        return 0.0 if self.children < 3 else TRAIN_UNTIL + 1.0


@pytest.mark.parametrize("code", ["hub", "crowded", "absent"])
def test_what_may_pass_is_told_and_tried_again_until_the_rounds_time_is_over(code: str, tmp_path: Path) -> None:
    said: list[Event] = []
    failing = Failing(code)
    with pytest.raises(TooSlowError, match="It is not there"):
        obtain(tmp_path, train=failing.train, told=said.append, clock=failing.clock, train_until=TRAIN_UNTIL)
    notices = [event.message for event in said if isinstance(event, Notice)]
    assert (len(notices), failing.children) == (2, 3)
    assert notices[0].startswith("It is not there. Look. Nothing is lost; next try in ")


@pytest.mark.parametrize(("code", "kind"), [("model", ModelError), ("disk", DiskError)])
def test_what_its_owner_has_to_set_right_ends_the_training_with_an_error_of_its_own_kind(
    code: str, kind: type[FeditError], tmp_path: Path
) -> None:
    failing = Failing(code)
    with pytest.raises(kind, match="It is not there"):
        obtain(tmp_path, train=failing.train, clock=failing.clock, train_until=TRAIN_UNTIL)
    assert failing.children == 1


def test_an_adapter_that_the_disk_has_no_room_for_is_not_fetched(tmp_path: Path) -> None:
    vast = shutil.disk_usage(tmp_path).free // 2
    with pytest.raises(DiskError, match="GiB are needed"):
        obtain(tmp_path, adapter_size=vast)
    assert not list(tmp_path.glob("**/*.part"))
