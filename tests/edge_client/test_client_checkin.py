"""What a device says of its machine when it asks for work."""

import asyncio
from pathlib import Path

import msgspec
import pytest
from cohorts import SERVER

from edge_client import training
from edge_client.client import worker
from edge_client.client.enrolment import Enrolment
from edge_client.client.participation import Context
from edge_client.client.worker import Worker
from edge_client.data import DataSource
from edge_client.hardware import find_hardware
from edge_client.state import FederationState, Membership, Preferences
from edge_client.transport import Server, Transport
from edge_client.yielding import ALWAYS, Gate, Observation
from fedit_shared.identity import SigningKey, federation_id
from fedit_shared.messages import CheckIn, ClientMessage, Closed, ServerMessage

GIB = 2**30
FEDERATION = federation_id(SERVER.public)


class Finished(Transport):
    """A server that has no more work for anybody."""

    def __init__(self) -> None:
        server = Server("https://none", None, FEDERATION)
        super().__init__(server, SigningKey(bytes(32)), lambda news: None, clock=lambda: 0.0)
        self.heard: list[ClientMessage] = []

    async def send(self, message: ClientMessage, *, wait: int = 0) -> ServerMessage:
        self.heard.append(message)
        return Closed(reason="All is done.")


def check_in(folder: Path, memory: int | None) -> CheckIn:
    """What a device asks for work with, whose owner lets training have so much memory."""
    preferences, transport = Preferences(data=DataSource(path="none"), memory_bytes=memory), Finished()
    with FederationState(folder) as state:
        state.membership = Membership(federation=FEDERATION, address="https://none", pin=None, server_key=SERVER.public)
        context = Context(state, transport, SERVER.public, lambda: 0.0, lambda event: None, contribute=None)  # type: ignore[arg-type]
        gate = Gate(ALWAYS, pause=lambda: None, observe=Observation, clock=lambda: 0.0, told=lambda standing: None)
        enrolment = Enrolment(state, None, accept_new_task=False)
        asyncio.run(Worker(context, enrolment, preferences, training.run_training, gate).run(None))
    [heard] = transport.heard
    assert isinstance(heard, CheckIn)
    return heard


@pytest.mark.parametrize("memory", [None, 5 * GIB])
@pytest.mark.parametrize("free", [GIB, 11 * GIB])
def test_a_server_learns_neither_what_is_free_on_a_machine_nor_what_its_owner_lets_training_have(
    free: int, memory: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = msgspec.structs.replace(
        find_hardware(), gpus=(), torch_cuda="", memory_bytes=int(15.4 * GIB), free_bytes=free
    )
    monkeypatch.setattr(worker, "find_hardware", lambda: here)
    assert check_in(tmp_path, memory).memory_gib == 16
