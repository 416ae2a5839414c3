"""`status` says what goes on here: whether a client works, trains, or has nothing left to do."""

import json
from pathlib import Path

import msgspec
import pytest

from edge_client.cli import main
from edge_client.data import DataSource
from edge_client.state import FederationState, Membership, Preferences

FINISHED = "The server says: The federation has finished."


@pytest.fixture
def state(tmp_path: Path) -> FederationState:
    """Of a machine that has joined."""
    with FederationState(tmp_path / "state") as kept:
        kept.membership = Membership(federation=bytes(32), address="https://a:1", pin=None, server_key=bytes(32))
        kept.preferences = Preferences(data=DataSource(path="/d"))
        return kept


def says(capsys: pytest.CaptureFixture[str], state: FederationState, *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["status", "--state", str(state.folder), *words])
    assert not end.value.code
    return capsys.readouterr().out


def test_whether_a_client_is_at_work_is_said_and_does_not_disturb_it(
    state: FederationState, capsys: pytest.CaptureFixture[str]
) -> None:
    for running in (False, True, False):
        if running:
            with FederationState(state.folder):
                said, told = says(capsys, state), json.loads(says(capsys, state, "--json"))
        else:
            said, told = says(capsys, state), json.loads(says(capsys, state, "--json"))
        assert told["running"] is running
        assert ("A client is at work here" in said) is running
        assert ("goes on from here" in said) is not running, "nobody is sent to start a second one"


def test_training_that_is_begun_is_said(state: FederationState, capsys: pytest.CaptureFixture[str]) -> None:
    assert json.loads(says(capsys, state, "--json"))["training"] is False
    with FederationState(state.folder) as client:
        client.new_update(bytes(32), bytes(32))
        assert "An update is being trained." in says(capsys, state)
    assert "is begun, and kept" in says(capsys, state)
    assert json.loads(says(capsys, state, "--json"))["training"] is True


def test_a_federation_that_is_over_asks_nobody_to_go_on(
    state: FederationState, capsys: pytest.CaptureFixture[str]
) -> None:
    assert state.membership is not None
    state.membership = msgspec.structs.replace(state.membership, finished=FINISHED)
    said = says(capsys, state)
    assert FINISHED in said
    assert "Nothing is left to do." in said
    assert "goes on from here" not in said
    assert json.loads(says(capsys, state, "--json"))["finished"] is True
