"""The first run on a terminal asks for what is missing, says why, and takes no nonsense; later runs ask nothing."""

import json
from pathlib import Path

from terminal import Terminal

from edge_client.state import FederationState
from fedit_shared.identity import JoinLink

LINK = str(JoinLink("https://127.0.0.1:9", b"f" * 32, b"t" * 16, b"p" * 32))


def answered(terminal: Terminal, question: str, answer: str) -> None:
    """Wait for the question, and only then type: what is typed before is echoed elsewhere."""
    terminal.until(question, after=terminal.here)
    terminal.here = len(terminal.said)
    terminal.type(f"{answer}\n")


def test_what_is_not_given_is_asked_for_with_the_reason_until_it_can_be_used(tmp_path: Path) -> None:
    good = tmp_path / "questions.csv"
    good.write_text("question,reply\nSay yes.,Yes.\nSay no.,No.\n,nothing\n")
    (tmp_path / "empty.jsonl").write_text("")
    state = tmp_path / "state"
    with Terminal("join", LINK, "--state", state) as terminal:
        terminal.until("never leave it")
        answered(terminal, "Your records", str(tmp_path / "absent.jsonl"))
        answered(terminal, "Your records", str(tmp_path / "empty.jsonl"))
        answered(terminal, "Your records", str(good))
        answered(terminal, "Which holds the instruction", "questions")
        answered(terminal, "Which holds the instruction", "question")
        answered(terminal, "Which holds the response", "reply")
        answered(terminal, "Which holds the context", "")
        answered(terminal, "Leave them out?", "y")
        answered(terminal, "How much memory", "a lot")
        answered(terminal, "How much memory", "2GiB")
        answered(terminal, "When may it train?", "at noon")
        answered(terminal, "When may it train?", "idle, 22:00-06:00")
        terminal.until("next try in", after=terminal.here)
        terminal.type("\x03")
        assert terminal.end() == 130
    said = terminal.said
    for words in ("cannot be read", "is empty", "It holds 2 records", "1 more are none", "a lot", "Free now"):
        assert words in " ".join(said.split()), words
    kept = FederationState(state).preferences
    assert kept is not None
    assert kept.data.path == str(good)
    assert kept.data.fields == {"instruction": "question", "response": "reply"}
    assert kept.data.bad == "skip"
    assert kept.memory_bytes == 2**31
    assert kept.when == ("idle", "22:00-06:00")
    with Terminal("join", LINK, "--state", state) as terminal:
        terminal.until("next try in")
        assert "Your records" not in terminal.said
        assert "When may it train?" not in terminal.said


def test_enter_takes_the_defaults_and_what_was_given_is_not_asked_for(tmp_path: Path) -> None:
    records = tmp_path / "records.jsonl"
    records.write_text(json.dumps({"instruction": "Say yes.", "context": "", "response": "Yes."}) + "\n")
    state = tmp_path / "state"
    with Terminal("join", LINK, "--data", records, "--state", state) as terminal:
        answered(terminal, "How much memory", "")
        answered(terminal, "When may it train?", "")
        terminal.until("next try in", after=terminal.here)
        assert "Your records" not in terminal.said
        terminal.type("\x03")
        assert terminal.end() == 130
    kept = FederationState(state).preferences
    assert kept is not None
    assert (kept.data.path, kept.memory_bytes, kept.when) == (str(records), None, ())


def test_for_a_program_nothing_is_asked_even_on_a_terminal(tmp_path: Path) -> None:
    with Terminal("join", LINK, "--json", "--state", tmp_path / "state") as terminal:
        assert terminal.end() == 2
    assert "--data FILE" in terminal.said
    assert not (tmp_path / "state").exists()


def test_who_goes_away_at_a_question_leaves_nothing_behind(tmp_path: Path) -> None:
    with Terminal("join", LINK, "--state", tmp_path / "state") as terminal:
        terminal.until("Your records")
        terminal.type("\x04")  # Ctrl-D: a Ctrl-C that comes just before a read is seen by Python after it only
        assert terminal.end() == 130
    assert not (tmp_path / "state").exists()
