"""`pause`, `resume`, `--when`: what the owner says is kept, shown, and refused with advice if it makes no sense."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from edge_client.cli import main
from edge_client.client import Client
from edge_client.data import DataSource
from edge_client.state import FederationState, Membership, Pause, Preferences
from fedit_shared.errors import UserError


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """The folder of a machine that has joined."""
    data = tmp_path / "records.jsonl"
    data.write_text(json.dumps({"instruction": "Say yes.", "response": "Yes."}) + "\n")
    with FederationState(tmp_path / "state") as kept:
        kept.membership = Membership(federation=bytes(32), address="https://a:1", pin=None, server_key=bytes(32))
        kept.preferences = Preferences(data=DataSource(path=str(data)))
    return tmp_path / "state"


def says(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status and everything that ``fedit-client`` says."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(end.value.code or 0), said.out + said.err


def test_a_pause_is_kept_shown_and_taken_back_also_while_a_client_runs(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FederationState(state) as running:
        assert running.pause is None
        status, said = says(capsys, "pause", "--state", state)
        back = f"until `fedit-client resume --state {state}`."
        assert (status, back in said) == (0, True)
        assert running.pause == Pause()
        assert f"paused {back}" in says(capsys, "status", "--state", state)[1], "the same command"
        assert says(capsys, "resume", "--state", state)[0] == 0
        assert running.pause is None
        assert says(capsys, "resume", "--state", state)[0] == 0
    assert "Trains: always.\n" in says(capsys, "status", "--state", state)[1]


@pytest.mark.parametrize(
    ("span", "seconds"), [("2h", 7200), ("30min", 1800), ("1.5h", 5400), ("90s", 90), ("1d", 86400)]
)
def test_a_pause_for_a_while_ends_by_itself(
    span: str, seconds: int, state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    began = int(time.time())
    assert says(capsys, "pause", "--for", span, "--state", state)[0] == 0
    pause = FederationState(state).pause
    assert pause is not None
    assert pause.until is not None
    assert began + seconds <= pause.until <= time.time() + seconds
    assert pause.holds(began)
    assert not pause.holds(pause.until)


def test_a_pause_that_is_over_is_not_shown(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FederationState(state).pause = Pause(until=1)
    assert "paused" not in says(capsys, "status", "--state", state)[1]


def test_a_damaged_pause_holds_until_it_is_taken_back(state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (state / "pause").write_bytes(b"\xc1rubbish")
    assert FederationState(state).pause == Pause()
    assert says(capsys, "resume", "--state", state)[0] == 0
    assert FederationState(state).pause is None


@pytest.mark.parametrize("span", ["2", "0h", "soon", "-1h", "9999d", "1e3h"])
def test_a_span_that_is_none_is_refused(span: str, state: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, said = says(capsys, "pause", "--for", span, "--state", state)
    assert (status, "2h or 30min" in said) == (2, True)
    assert FederationState(state).pause is None


@pytest.mark.parametrize("verb", ["pause", "resume"])
def test_a_folder_that_has_joined_nothing_is_told_so_and_not_made(
    verb: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, said = says(capsys, verb, "--state", tmp_path / "none")
    assert (status, "has joined no federation" in said) == (2, True)
    assert not (tmp_path / "none").exists()


def test_the_joined_federation_is_found_without_naming_its_folder(
    state: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDIT_STATE", str(state))
    status, said = says(capsys, "pause")
    assert (status, f"--state {state}" in said) == (0, False)
    assert FederationState(state).pause == Pause()


def test_a_condition_that_is_none_is_refused_before_anything_is_touched(
    state: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = FederationState(state).preferences
    for wrong in ("sometimes", "22:00", "always,idle", "22:00-06:00,12:00-13:00"):
        status, said = says(capsys, "run", "--state", state, "--when", wrong)
        assert status == 2
        assert "--when" in said
    assert FederationState(state).preferences == before


async def merged(client: Client) -> tuple[str, ...]:
    async with client:
        return client.preferences.when


def test_conditions_are_kept_until_others_are_given(state: Path) -> None:
    assert asyncio.run(merged(Client.open(state))) == ()
    wanted = Client.open(state, when=["idle,22:00-6:00"])
    assert asyncio.run(merged(wanted)) == ("idle", "22:00-06:00")
    kept = FederationState(state)
    kept.preferences = wanted.preferences
    assert asyncio.run(merged(Client.open(state))) == ("idle", "22:00-06:00")
    assert asyncio.run(merged(Client.open(state, when=["always"]))) == ()
    with pytest.raises(UserError):
        Client.open(state, when=["never"])
