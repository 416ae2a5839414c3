"""``fedit-client chat``: base and adapter answer in turn, each in its own conversation, from one loaded model."""

import asyncio
import io
import os
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from terminal import Terminal
from tiny_model import Workshop, tuned_adapter

from edge_client.cli import main
from edge_client.cli.chat import opened
from edge_client.cli.columns import Lines
from edge_client.client import chatting
from edge_client.data import DataSource, Record, Turn
from edge_client.inference import InferenceProcess, Open
from edge_client.inference.conversation import Conversation
from edge_client.state import Ended, FederationState, Membership, Mustered, Preferences
from edge_client.training import Loading
from fedit_shared import adapter as wire
from fedit_shared.messages import ModelRef, TaskSpec, encode
from fedit_shared.secagg import ROUND_SECRET_SIZE

FIRST, SECOND = "Say 1 again", "Say 2"
Say = Callable[..., tuple[int, str, str]]


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Say:
    """``fedit-client chat`` with these arguments, and these lines typed by a program."""

    def run(lines: list[str], *arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))
        with pytest.raises(SystemExit) as end:
            main(["chat", *map(str, arguments), "--device", "cpu", "--max-new-tokens", "8"])
        out, err = capfd.readouterr()
        return int(end.value.code or 0), out, err

    return run


def joined(root: Path, workshop: Workshop, adapter: Path, task: TaskSpec, *, newest: bytes | None = None) -> Path:
    """A device's folder after a round, with ``adapter`` kept and, if not another, the newest."""
    data = (adapter / wire.FILE_NAME).read_bytes()
    version = wire.version(data)
    with FederationState(root) as state:
        assert state.identity, "made when it joined"
        state.membership = Membership(
            federation=bytes(32),
            address="https://127.0.0.1:9",
            pin=None,
            server_key=bytes(32),
            name="the choir",
            task_hash=state.keep_task(encode(task)),
        )
        state.preferences = Preferences(data=DataSource(path="/d"), model_folder=str(workshop.model))
        state.disk.write(state.adapter_path(version), data)
        mustered = Mustered(round=1, adapter=version, task_hash=bytes(32), update="u", not_after=9, muster=b"m")
        state.new_attempt(mustered, os.urandom(ROUND_SECRET_SIZE)).end(
            Ended(
                round=1,
                outcome="published",
                counted=True,
                survivors=3,
                members=3,
                bytes_up=1,
                time=1,
                adapter=newest or version,
            )
        )
    return root


def test_answers_come_in_pieces_each_arm_hears_its_own_and_the_base_is_loaded_once(
    workshop: Workshop, tmp_path: Path
) -> None:
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    settings = Open(model=ModelRef(id=""), model_folder=str(workshop.model), device="cpu", threads=1)
    said: list[object] = []

    async def session() -> None:
        async with InferenceProcess(settings, said.append) as model:
            talk = Conversation([("base", None), ("tuned", str(adapter))])
            answers = {}
            for arm, path in talk.arms:
                pieces: list[str] = []
                answer = await talk.ask(model, arm, FIRST, pieces.append, max_new_tokens=24)
                assert "".join(pieces).strip() == answer.text
                assert len(pieces) > 1
                [alone] = await model.generate(path, [Record(instruction=FIRST)], max_new_tokens=24)
                assert answer == alone
                answers[arm] = answer.text
            assert answers["base"] != answers["tuned"]
            for arm, path in talk.arms:
                earlier = (Turn("user", FIRST), Turn("assistant", answers[arm]))
                answer = await talk.ask(model, arm, SECOND, lambda text: None, max_new_tokens=8)
                record = Record(instruction=SECOND, earlier=earlier)
                assert [answer] == list(await model.generate(path, [record], max_new_tokens=8))
            too_long = "again " * 300
            full = await talk.ask(model, "base", too_long, lambda text: None, max_new_tokens=8)
            assert full.tokens == 0
            talk.reset()
            assert (await talk.ask(model, "base", FIRST, lambda text: None, max_new_tokens=24)).text == answers["base"]

    asyncio.run(session())
    assert said.count(Loading(part="model")) == 1


def test_a_program_may_talk_too_and_reset_begins_anew(workshop: Workshop, tmp_path: Path, say: Say) -> None:
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    status, out, err = say(
        [FIRST, SECOND, "/reset", "/huh", SECOND, "/quit", "x"], workshop.model, "--adapter", adapter
    )
    assert status == 0
    lines = [line.partition(": ") for line in out.splitlines() if line.startswith(("base: ", "adapted: "))]
    assert [name for name, _, _ in lines] == ["base", "adapted"] * 3
    first, later, anew = ([lines[2 * k][2], lines[2 * k + 1][2]] for k in range(3))
    assert first[0] != first[1]
    assert later != anew
    assert "/quit" in err, "an unknown command is told which there are"
    assert "\x1b" not in out


def test_a_folder_that_holds_no_adapter_is_refused_before_the_base_is_loaded(
    workshop: Workshop, tmp_path: Path, say: Say
) -> None:
    (tmp_path / "wrong").mkdir()
    status, out, err = say([FIRST], workshop.model, "--adapter", tmp_path / "wrong")
    assert (status, out) == (2, "")
    assert err.startswith(f"Error: The adapter {tmp_path / 'wrong'} cannot be read: ")


def test_the_federation_that_was_joined_and_its_newest_adapter_are_the_default(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "states"))
    monkeypatch.delenv("FEDIT_STATE", raising=False)
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    data = (adapter / wire.FILE_NAME).read_bytes()
    state = joined(tmp_path / "states" / "fedit" / "choir", workshop, adapter, workshop.task())
    before = {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}
    for number, what in enumerate((None, "the choir", str(state))):
        with asyncio.Runner() as runner:
            settings, arms = opened(runner, what, None, None, tmp_path / str(number), 2**32, "cpu", None)
        assert settings.model_folder == str(workshop.model)
        assert settings.memory_bytes == 2**32
        assert [name for name, _ in arms] == ["base", "federated"]
        assert arms[0][1] is None
        assert (Path(str(arms[1][1])) / wire.FILE_NAME).read_bytes() == data
        assert wire.version(data).hex()[:12] in capsys.readouterr().err
    assert {path: path.read_bytes() for path in state.rglob("*") if path.is_file()} == before


def test_where_the_server_is_away_the_last_adapter_that_is_here_is_taken_and_it_is_said(
    workshop: Workshop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chatting, "PATIENCE_SECONDS", 0.3)
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    state = joined(tmp_path / "state", workshop, adapter, workshop.task(), newest=b"n" * 32)
    said: list[str] = []
    found = asyncio.run(chatting.newest_folder(FederationState(state), tmp_path / "into", said.append))
    assert (found.folder / wire.FILE_NAME).read_bytes() == (adapter / wire.FILE_NAME).read_bytes()
    assert "does not answer" in said[0]


def test_another_model_than_the_federations_is_not_talked_with(workshop: Workshop, tmp_path: Path, say: Say) -> None:
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    task = workshop.task()
    other = msgspec.structs.replace(task.model, files={"config.json": sha256(b"other").digest()})
    state = joined(tmp_path / "state", workshop, adapter, msgspec.structs.replace(task, model=other))
    status, _, err = say([FIRST], "--state", state)
    assert status == 2
    assert "is not the file that the federation trains on" in err


def test_on_a_wide_terminal_they_stand_side_by_side_and_ctrl_d_ends_it(workshop: Workshop, tmp_path: Path) -> None:
    adapter = tuned_adapter(workshop, tmp_path / "tuned", scale=0.5)
    words = ("chat", workshop.model, "--adapter", adapter, "--device", "cpu", "--max-new-tokens", 8)
    with Terminal(*words, columns=100) as terminal:
        here = len(terminal.until("you: "))
        terminal.type(f"{FIRST}\n")
        answered = terminal.until("adapted", after=here).index("adapted", here)
        terminal.until("you: ", after=answered)
        terminal.type("\x04")
        assert terminal.end() == 0
    heads = [line for line in terminal.said.splitlines() if "base" in line and "adapted" in line]
    assert heads, "both names in one line"


def test_what_a_model_says_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    lines = Lines()
    with lines.answering(["base"]):
        lines.begin("base")
        for piece in ("  ", "\n Two\nlines\x1b[2J", " and\ta \x07bell"):
            lines.piece(piece)
    out = capsys.readouterr().out
    assert out.startswith("base: Two\nlines")
    assert not any(sign in out for sign in "\x1b\x07\t")
