"""A federation with a last round: its clients end by themselves, and go on when the operator adds rounds."""

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest
from participants import quick_client, run_client
from server_process import ServerProcess

from edge_client.client import Event, FederationFinished, RoundFinished
from edge_client.state import FederationState
from fedit_shared.identity import JoinLink

CLIENTS = 3


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path / "server", target=CLIENTS, rounds=2)
    server.start()
    yield server
    server.stop()


async def work(links: list[JoinLink], root: Path) -> list[list[Event]]:
    """Everything that the clients say until each has ended by itself."""
    clients = [quick_client(link, root / str(number)) for number, link in enumerate(links)]
    async with asyncio.timeout(300):
        return await asyncio.gather(*(run_client(client) for client in clients))


def finished(said: list[Event]) -> list[tuple[int, str]]:
    return [(event.round, event.outcome) for event in said if isinstance(event, RoundFinished)]


def kept_finish(root: Path) -> str | None:
    membership = FederationState(root / "0" / "state").membership
    assert membership is not None
    return membership.finished


def test_clients_end_after_the_last_round_and_go_on_when_rounds_are_added(
    server: ServerProcess, tmp_path: Path
) -> None:
    links = server.invite("--count", CLIENTS)
    over = "The server says: The federation has finished: all {} rounds are published."
    for said in asyncio.run(work(links, tmp_path)):
        assert finished(said) == [(1, "published"), (2, "published")]
        assert FederationFinished(over.format(2)) in said
    assert kept_finish(tmp_path) == over.format(2)

    [idle, *_] = asyncio.run(work(links, tmp_path))
    assert finished(idle) == [], "started again, there is still nothing to do"

    server.stop()
    server.configure("federation", rounds=3)
    server.start()
    for said in asyncio.run(work(links, tmp_path)):
        assert finished(said) == [(3, "published")]
        assert FederationFinished(over.format(3)) in said
    assert kept_finish(tmp_path) == over.format(3)
    assert not list(tmp_path.glob("*/state/updates/*/delta")), "what was sent is kept unmasked by nobody"
