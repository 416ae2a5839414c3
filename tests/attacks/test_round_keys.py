"""How long a device keeps what opens its packets: no longer than it promised, whatever the server says."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Self

import pytest
from cohorts import NOT_AFTER, SERVER
from victims import Victim, contributed

from edge_client.client import Event, RoundFinished, worker
from edge_client.client.enrolment import Enrolment
from edge_client.client.participation import Context
from edge_client.client.worker import Worker
from edge_client.data import DataSource
from edge_client.state import Attempt, FederationState, Membership, Past, Preferences
from edge_client.transport import Server, Transport
from edge_client.yielding import ALWAYS, Gate, Observation
from fedit_shared.identity import federation_id
from fedit_shared.messages import CheckIn, ClientMessage, Closed, Poll, ServerMessage, Survivors, Wait

Says = Callable[[], ServerMessage | None]


class Scripted(Transport):
    """A server that has no more work, and answers each question about the round alike; None: it never answers."""

    def __init__(self, victim: Victim, says: Says, clock: Callable[[], float], asked: asyncio.Event) -> None:
        super().__init__(Server("https://none", None, b""), victim.device.key, lambda news: None, clock=clock)
        self._says, self._asked = says, asked

    def branch(self) -> Self:
        return self

    async def send(self, message: ClientMessage, *, wait: int = 0) -> ServerMessage:
        reply: ServerMessage | None = Wait(reason="Nothing to do.", seconds=0.2)
        if not isinstance(message, CheckIn):
            assert isinstance(message, Poll)
            self._asked.set()
            reply = self._says()
        if reply is None:
            await asyncio.Event().wait()
        assert reply is not None
        return reply


async def work(
    state: FederationState, victim: Victim, attempt: Attempt, says: Says, rounds: int | None = None
) -> list[Event]:
    """Run a worker, and set its clock to just after the promise once it has asked."""
    now, said, asked, over = float(NOT_AFTER - 5), list[Event](), asyncio.Event(), asyncio.Event()

    def clock() -> float:
        return now

    def emit(event: Event) -> None:
        said.append(event)
        if isinstance(event, RoundFinished) and event.outcome == "expired":
            over.set()

    transport, preferences = Scripted(victim, says, clock, asked), Preferences(data=DataSource(path="none"))
    state.preferences = preferences
    gate = Gate(ALWAYS, pause=lambda: None, observe=Observation, clock=clock, told=lambda standing: None)
    context = Context(state, transport, SERVER.public, clock, emit, victim.contribute)
    enrolment = Enrolment(state, None, accept_new_task=False)
    running = asyncio.create_task(Worker(context, enrolment, preferences, victim.train, gate).run(rounds))  # type: ignore[arg-type]
    async with asyncio.timeout(120):
        await asked.wait()
    for _ in range(5):
        await asyncio.sleep(0.02)
        assert attempt.alive, "as long as it has promised"
    now = float(NOT_AFTER + 1)
    async with asyncio.timeout(120):
        await (over.wait() if rounds is None else running)
    running.cancel()
    await asyncio.wait([running])
    return said


def reported(folder: Path) -> tuple[Victim, Attempt]:
    """A victim, and its only round, which the server has its report for."""
    victim, attempt = contributed(folder)
    attempt.passed(Past(step="reported", bytes_up=1))
    with victim.state() as state:
        federation = federation_id(SERVER.public)
        state.membership = Membership(federation=federation, address="https://none", pin=None, server_key=SERVER.public)
    return victim, attempt


@pytest.mark.parametrize(
    ("says", "told"),
    [
        (lambda: Closed(reason="Go away."), ["closed", "expired"]),
        (lambda: Survivors(survivors=bytes(64)), ["refused", "expired"]),
        (lambda: None, ["expired"]),
    ],
    ids=["sent away", "asked for what it refuses", "left without an answer"],
)
def test_a_round_key_is_gone_when_its_promise_ends_while_the_client_runs_on(
    says: Says, told: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EXPIRY_SECONDS", 0.02)
    victim, attempt = reported(tmp_path)
    with victim.state() as state:
        said = asyncio.run(work(state, victim, attempt, says))
    assert [event.outcome for event in said if isinstance(event, RoundFinished)] == told
    assert not (attempt.folder / "key").exists()
    ended = attempt.ended()
    assert ended is not None
    assert ended.outcome == "expired"
    [update] = state.updates
    assert update.spent_by == attempt.name, "nothing shows that it is in no sum"
    assert not (update.folder / "delta").exists(), "nothing can show it any more"


def test_a_device_that_is_leaving_waits_no_longer_for_a_server_that_is_gone_than_it_has_promised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "EXPIRY_SECONDS", 0.02)
    victim, attempt = reported(tmp_path)
    replies = iter([Wait(reason="Others are slow.", seconds=0.0)])
    with victim.state() as state:
        said = asyncio.run(work(state, victim, attempt, lambda: next(replies, None), rounds=0))
    assert [event.outcome for event in said if isinstance(event, RoundFinished)] == ["expired"]
    assert not attempt.alive
