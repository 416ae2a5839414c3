"""What was sent when, and what came of it, is on disk with the step that it belongs to; old rounds are forgotten."""

import json
import os
from pathlib import Path

import msgspec
import pytest

from edge_client.cli import main
from edge_client.client.words import describe_entry
from edge_client.state import Attempt, Ended, FederationState, Membership, Mustered, Past, federation, history
from fedit_shared.secagg import ROUND_SECRET_SIZE

ENDED = Ended(
    round=7,
    outcome="published",
    counted=True,
    survivors=4,
    members=5,
    bytes_up=2**20,
    time=1_700_000_900,
    began=1_700_000_000,
    sent=1_700_000_300,
    mean_loss=1.25,
    adapter=b"a" * 32,
)


def begin(state: FederationState, round: int) -> Attempt:
    mustered = Mustered(
        round=round, adapter=bytes(32), task_hash=bytes(32), update="u", not_after=9, muster=b"m", time=1_700_000_000
    )
    return state.new_attempt(mustered, os.urandom(ROUND_SECRET_SIZE))


def test_an_open_round_tells_what_went_up_and_when(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        attempt = begin(state, 3)
        [entry] = history(state.attempts)
        assert (entry.step, entry.sent, entry.bytes_up, entry.began) == (None, 0, 0, 1_700_000_000)
        attempt.passed(Past(step="voted", bytes_up=77, sent=1_700_000_300))
    [entry] = history(FederationState(tmp_path).attempts)  # without the lock: beside a client at work
    assert (entry.outcome, entry.step, entry.sent, entry.bytes_up) == (None, "voted", 1_700_000_300, 77)


def test_a_round_that_is_over_tells_whether_it_counted(tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        begin(state, 7).end(ENDED)
    [entry] = history(FederationState(tmp_path).attempts)
    assert entry.counted
    assert (entry.sent, entry.ended, entry.bytes_up, entry.adapter) == (1_700_000_300, 1_700_000_900, 2**20, b"a" * 32)


def test_a_record_of_an_older_client_is_read(tmp_path: Path) -> None:
    old = {"round": 1, "outcome": "closed", "counted": False, "survivors": 0, "members": 0, "bytes_up": 9, "time": 5}
    with FederationState(tmp_path) as state:
        attempt = begin(state, 1)
        state.disk.write(attempt.folder / "ended", msgspec.msgpack.encode(old))
    with FederationState(tmp_path) as state:
        [entry] = history(state.attempts)
    assert (entry.outcome, entry.bytes_up, entry.sent, entry.began) == ("closed", 9, 0, 0)


def test_only_so_many_rounds_are_remembered_and_none_that_is_open_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(federation, "ROUNDS_KEPT", 3)
    with FederationState(tmp_path) as state:
        still_open = begin(state, 1)
        for number in range(2, 9):
            begin(state, number).end(msgspec.structs.replace(ENDED, round=number))
        begin(state, 9)
        assert [entry.round for entry in history(state.attempts)] == [1, 6, 7, 8, 9]
        assert still_open.alive


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, "published, counted: one of 4 in the sum, their mean loss 1.250; sent 1.0 MiB"),
        ({"counted": False, "reason": "Its window is over.", "sent": 0}, "without this device's update, from 4"),
        ({"outcome": "abandoned", "counted": False}, "abandoned by vote, nothing was opened"),
        ({"outcome": "failed", "counted": False}, "failed, nothing was published"),
        ({"outcome": "expired", "counted": False, "reason": "Nobody may ask."}, "expired"),
    ],
)
def test_each_outcome_is_one_line_with_its_reason(changes: dict[str, object], said: str, tmp_path: Path) -> None:
    with FederationState(tmp_path) as state:
        begin(state, 7).end(msgspec.structs.replace(ENDED, **changes))
        [entry] = history(state.attempts)
    line = describe_entry(entry)
    assert said in line
    assert line.endswith(str(changes.get("reason", ".")))
    assert ("its update not sent" in line) == (changes.get("sent") == 0)
    assert "\n" not in line


def test_history_and_status_tell_people_and_programs_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FederationState(tmp_path) as state:
        state.membership = Membership(federation=bytes(32), address="https://a:1", pin=None, name="n")
        for number in (1, 2, 3):
            begin(state, number).end(msgspec.structs.replace(ENDED, round=number, counted=number > 1))
        begin(state, 4)

    def run(*words: str) -> list[str]:
        with pytest.raises(SystemExit) as end:
            main([*words, "--state", str(tmp_path)])
        assert end.value.code == 0
        return capsys.readouterr().out.splitlines()

    told = [json.loads(line) for line in run("history", "--json")]
    assert [(entry["event"], entry["round"], entry["counted"]) for entry in told] == [
        ("Round", 1, False),
        ("Round", 2, True),
        ("Round", 3, True),
        ("Round", 4, False),
    ]
    assert told[0]["adapter"] == "61" * 32
    assert told[0]["not_after"] is told[3]["sent"] is told[3]["ended"] is None, "no time is not the year 1970"
    assert run("history", "--last", "2")[:1] == [line for line in run("history") if line.startswith("Round 3")]
    assert run("history")[-1] == "Rounds over: 3, with this device's update: 2; sent 3.0 MiB in all."
    assert run("history", "--last", "1")[-1] == run("history")[-1], "the sums are of all rounds"
    [status] = [json.loads(line) for line in run("status", "--json")]
    assert (status["event"], status["rounds_over"], status["rounds_counted"], status["rounds_open"]) == (
        "Status", 3, 2, [4]
    )  # fmt: skip
    assert "Rounds over: 3, with this device's update: 2." in run("status")
