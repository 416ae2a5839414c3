"""The live view: what it makes of events, that it fits the terminal, and leaves that as it was."""

import json
import re
from pathlib import Path

import pytest
from client_events import PROGRESS, TASK
from terminal import Terminal

from edge_client import client as c
from edge_client.cli.board import PHASES, Board
from edge_client.cli.live import LiveView
from edge_client.state import Entry
from fedit_shared.identity import JoinLink

LINK = str(JoinLink("https://127.0.0.1:9", b"f" * 32, b"t" * 16, b"p" * 32))
BEFORE = [
    Entry(round=1, began=1, sent=2, bytes_up=2**20, step=None, outcome="published", counted=True, survivors=3),
    Entry(round=2, began=3, sent=0, bytes_up=100, step=None, outcome="abandoned"),
]
ROUND: list[tuple[c.Event, str]] = [
    (c.Offered(3, bytes(32), 100, 1_700_000_000, 1_700_000_000, TASK), "train"),
    (c.Training(3, PROGRESS), "train"),
    (c.Trained(3, 40, 1.5), "muster"),
    (c.Mustered(3, 4, 1_700_000_000), "muster"),
    (c.RosterAccepted(3, bytes(16), 5, 4, 3), "send"),
    (c.Sealed(3, 0.25), "send"),
    (c.Uploading(3, 2**20, 2**21), "send"),
    (c.Contributed(3, 2**21), "check"),
    (c.Reported(3), "vote"),
    (c.Voted(3, 5), "answer"),
    (c.Answered(3), "answer"),
]


def test_a_round_goes_through_its_phases_and_then_stands_among_the_last_ones() -> None:
    board = Board(BEFORE)
    for event, phase in ROUND:
        board.note(event)
        assert PHASES[board.stages[3].phase] == phase, event
    assert board.training is None
    assert board.bytes_up == 2**20 + 100 + 2**21
    board.note(c.RoundFinished(3, "published", True, 4, 5, 2**21 + 50))
    assert not board.stages
    assert [(past.round, past.outcome, past.counted) for past in board.past] == [
        (1, "published", True),
        (2, "abandoned", False),
        (3, "published", True),
    ]
    assert board.bytes_up == 2**20 + 100 + 2**21 + 50


def test_a_round_that_goes_on_after_a_restart_is_in_the_phase_that_it_was_in() -> None:
    board = Board()
    board.note(c.RosterAccepted(3, bytes(16), 5, 4, 3))
    board.note(c.Reported(3))
    board.note(c.RosterAccepted(3, bytes(16), 5, 4, 3))
    assert PHASES[board.stages[3].phase] == "vote"


def test_what_is_awaited_until_when_stands_with_its_round() -> None:
    board = Board()
    board.note(c.Mustered(3, 4, 1_700_000_000))
    board.note(c.Waiting("Waiting for others.", 3, 2, 5, 1_700_000_000))
    assert re.match(r"Waiting for others\. 2 of 5 are here\. Until .* at the latest\.", board.stages[3].awaited)


@pytest.mark.parametrize("width", [20, 40, 60, 120])
def test_no_line_is_wider_than_the_terminal(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "50")
    monkeypatch.setenv("FORCE_COLOR", "1")
    with LiveView(BEFORE) as view:
        for event, _ in ROUND[:2]:
            view.show(event)
        view.show(c.Notice("Look here."))  # drawn at once, whatever was drawn a moment ago
    said = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out).replace("\r", "\n")
    assert max(len(line) for line in said.splitlines()) <= width
    words = " ".join(said.split())
    for shown in ("2 of 4", "2.500", "100 tokens/s", "1.0 GiB of 2.0", "train", "1 counted", "2 abandoned"):
        assert shown in words
    assert ("muster" in words) == (width >= 60)


def test_ctrl_c_leaves_the_terminal_as_it_was_and_a_resize_draws_anew(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"instruction": "Say yes.", "context": "", "response": "Yes."}) + "\n")
    words = ("join", LINK, "--data", records, "--memory", "2GiB", "--when", "always", "--state", tmp_path / "state")
    with Terminal(*words, columns=100) as terminal:
        terminal.until("next try in")
        here = len(terminal.said)
        terminal.resize(40, 24)
        terminal.until("\x1b[2J", after=here)  # cleared, so that nothing stale stays
        terminal.until("next try in", after=terminal.said.index("\x1b[2J", here))
        terminal.type("\x03")
        assert terminal.end() == 130
    said = terminal.said
    assert "Stopping: " in said
    assert "goes on from here" in said
    assert said.rindex("\x1b[?25h") > said.rindex("\x1b[?25l"), "the cursor is shown again"
    assert "\x1b[?1049h" not in said, "what was said stays in the scrollback"
