"""`leave` says what it waits for, waits for a bounded time, and never says to who leaves how to go on."""

import json
from pathlib import Path

import msgspec
import pytest

from edge_client.cli import main
from edge_client.client import client as client_module
from edge_client.data import DataSource
from edge_client.state import FederationState, Membership, Preferences


@pytest.fixture
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FederationState:
    """Of a machine that has joined a federation whose server is away."""
    monkeypatch.setattr(client_module, "LEAVING_SECONDS", 0.1)
    address = "https://127.0.0.1:9"
    with FederationState(tmp_path / "state") as kept:
        kept.membership = Membership(federation=bytes(32), address=address, pin=bytes(32), server_key=bytes(32))
        kept.preferences = Preferences(data=DataSource(path="/d"))
        return kept


def leaves(capsys: pytest.CaptureFixture[str], state: FederationState, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of `leave`."""
    with pytest.raises(SystemExit) as end:
        main(["leave", "--state", str(state.folder), *words])
    said = capsys.readouterr()
    return int(end.value.code or 0), said.out, said.err


@pytest.mark.parametrize("now", [[], ["--now"]])
def test_a_server_that_is_away_is_said_and_given_up_with_advice(
    now: list[str], state: FederationState, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said, error = leaves(capsys, state, *now)
    assert status == 3
    assert "The server does not answer; next try in" in said
    assert "has not left: the server does not answer." in error
    assert "Try again later" in error
    assert str(state.folder) in error
    kept = FederationState(state.folder).membership
    assert kept is not None
    assert not kept.left


def test_programs_are_told_of_it_too(state: FederationState, capsys: pytest.CaptureFixture[str]) -> None:
    _, said, _ = leaves(capsys, state, "--now", "--json")
    told = [json.loads(line) for line in said.splitlines()]
    assert [line["event"] for line in told] == ["Retrying", "Error"]
    assert (told[1]["code"], told[1]["exit_code"]) == ("unreachable", 3)


def test_who_leaves_what_is_over_is_not_told_how_to_go_on(
    state: FederationState, capsys: pytest.CaptureFixture[str]
) -> None:
    assert state.membership is not None
    state.membership = msgspec.structs.replace(state.membership, finished="It is over.")
    assert "takes part again" not in leaves(capsys, state)[1]
