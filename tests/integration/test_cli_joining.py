"""The client's commands against a real server: what joining refuses, and what status and leaving say."""

import asyncio
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import msgspec
import pytest
from participants import RECORD, quick_client, run_client
from server_process import ServerProcess, command
from terminal import Terminal

from edge_client.cli import main
from edge_client.client import Client, Waiting
from edge_client.data import DataSource
from edge_client.state import FederationState
from fedit_shared.identity import JoinLink

Shell = Callable[..., tuple[int, str, str]]
OFFERED = "offered, tiny"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    server = ServerProcess(tmp_path_factory.mktemp("cli"), target=3)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def shell(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Shell:
    """``fedit-client`` with these arguments, in a folder of this test: status, stdout, stderr."""
    (tmp_path / "records.jsonl").write_text(json.dumps(RECORD) + "\n")

    def run(verb: str, *arguments: object) -> tuple[int, str, str]:
        state = ["--state", str(tmp_path / "state")]
        data = ["--data", str(tmp_path / "records.jsonl")] if verb == "join" else []
        with pytest.raises(SystemExit) as end:
            main([verb, *(str(argument) for argument in arguments), *state, *data])
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(end.value.code or 0), said.out, said.err

    return run


def enrol(link: JoinLink, home: Path) -> None:
    """Join, and go away again."""

    async def go() -> None:
        async with quick_client(link, home) as client:
            async for _ in client.run():
                return

    asyncio.run(go())


def test_a_link_that_is_used_up_is_refused_in_the_operators_words(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    [link] = server.invite()
    enrol(link, tmp_path / "first")
    status, _, error = shell("join", link)
    assert status == 4
    assert "used up" in error
    assert "new join link" in error


def test_a_file_with_other_names_and_bad_lines_is_taken_as_its_owner_says(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    [link] = server.invite("--expires", "1s")
    time.sleep(1.1)
    (tmp_path / "records.jsonl").write_text('{"instruction": "Say yes.", "answer": "Yes."}\nrubbish\n')
    status, _, error = shell("join", link, "--bad-lines", "skip")
    assert status == 2
    assert "--field response=NAME" in error
    status, _, error = shell("join", link, "--field", "response=answer", "--bad-lines", "refuse")
    assert status == 2
    assert "--bad-lines skip" in error
    status, _, error = shell("join", link, "--field", "response=answer", "--bad-lines", "skip")
    assert status == 4, "only the invitation is at fault now"
    kept = FederationState(tmp_path / "state").preferences
    assert kept is not None
    assert kept.data == DataSource(path=str(tmp_path / "records.jsonl"), fields={"response": "answer"}, bad="skip")


def test_a_link_that_has_expired_is_refused(server: ServerProcess, shell: Shell) -> None:
    [link] = server.invite("--expires", "1s")
    time.sleep(1.1)
    status, _, error = shell("join", link)
    assert status == 4
    assert "expired" in error


def test_a_link_with_another_token_is_refused(server: ServerProcess, shell: Shell) -> None:
    [link] = server.invite()
    status, _, error = shell("join", replace(link, token=bytes(16)))
    assert status == 4
    assert "not known" in error


def test_another_machine_at_the_links_address_is_sent_nothing(server: ServerProcess, shell: Shell) -> None:
    [link] = server.invite()
    status, _, error = shell("join", replace(link, pin=bytes(32)))
    assert status == 3
    assert "its key differs" in error
    assert "Nothing was sent" in error


def test_a_link_that_names_another_federation_is_refused(server: ServerProcess, shell: Shell) -> None:
    [link] = server.invite()
    status, _, error = shell("join", replace(link, federation=bytes(32)))
    assert status == 4
    assert "federation" in error


def test_another_task_than_the_one_agreed_to_is_not_trained(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    [link] = server.invite()
    enrol(link, tmp_path)  # its folder is the shell's
    with FederationState(tmp_path / "state") as state:
        assert state.membership is not None
        state.membership = msgspec.structs.replace(state.membership, task_hash=bytes(32))
    status, said, error = shell("run", "--json")
    assert status == 5
    assert "--accept-new-task" in error
    told = json.loads(said.splitlines()[-1])
    assert (told["event"], told["exit_code"]) == ("Error", 5)


def asked(tmp_path: Path, answer: str, said: str, *, verb: Sequence[object] = ("run",)) -> tuple[int, FederationState]:
    """The exit status of a client on a terminal whose question is answered so, stopped once it has ``said`` this."""
    with Terminal(*verb, "--state", tmp_path / "state") as terminal:
        terminal.until("Take part?")
        assert "tiny" in terminal.said, "the task is shown"
        assert "offered" not in terminal.said
        here = len(terminal.said)
        terminal.type(answer)
        terminal.until(said, after=here)
        if said == OFFERED:
            terminal.type("\x03")
        return terminal.end(), FederationState(tmp_path / "state")


def test_on_a_terminal_the_first_task_and_one_that_has_changed_are_asked_about(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    [link] = server.invite()
    words = ("join", link, "--data", tmp_path / "records.jsonl", "--memory", "4GiB", "--when", "always")
    status, state = asked(tmp_path, "n\n", "have not agreed", verb=words)
    assert status == 5
    assert state.membership is not None
    assert state.membership.task_hash is None
    assert state.preferences is not None, "nothing is lost"
    assert not list(state.folder.glob("updates/*"))
    _, state = asked(tmp_path, "\n", OFFERED)
    assert state.membership is not None
    agreed = state.membership.task_hash
    with FederationState(state.folder) as held:
        held.membership = msgspec.structs.replace(state.membership, task_hash=bytes(32))
    status, state = asked(tmp_path, "\n", "--accept-new-task")
    assert status == 5, "Enter does not agree to a change"
    _, state = asked(tmp_path, "y\n", OFFERED)
    assert state.membership is not None
    assert state.membership.task_hash == agreed
    assert agreed


def test_a_clock_that_is_off_is_named(server: ServerProcess, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    [link] = server.invite()
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 7 * 3600)
    status, _, error = shell("join", link)
    assert status == 3
    assert "7 hours ahead of" in error


def test_a_folder_without_a_model_is_named_before_the_invitation_is_spent(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    [link] = server.invite()
    (tmp_path / "model").mkdir()
    before = command("devices", server.folder, "--json").stdout
    status, said, error = shell("join", link, "--model-path", tmp_path / "model", "--json")
    assert [json.loads(line)["event"] for line in said.splitlines()] == ["Error"]
    assert status == 2
    assert str(tmp_path / "model") in error
    assert command("devices", server.folder, "--json").stdout == before


def test_status_tells_of_rounds_and_after_leaving_nothing_more_is_offered(
    server: ServerProcess, shell: Shell, tmp_path: Path
) -> None:
    links = server.invite("--count", 3)
    mine = quick_client(links[0], tmp_path)  # its folder is the shell's

    async def go() -> None:
        others = [run_client(quick_client(link, tmp_path / str(n)), 1) for n, link in enumerate(links[1:])]
        for said in await asyncio.gather(run_client(mine, 1), *others):
            waited.extend(event.reason for event in said if isinstance(event, Waiting))

    waited: list[str] = []
    asyncio.run(go())
    assert waited
    assert all(reason.startswith("The server says: ") for reason in waited), "its words are marked as its own"
    status, said, _ = shell("status")
    assert status == 0
    assert "published, counted: one of 3 in the sum" in said
    assert "Rounds over: 1, with this device's update: 1." in said
    assert "Task: tiny, fedavg. Every device counts the same" in said
    assert json.loads(shell("status", "--json")[1])["max_weight"] == 1
    [entry] = [json.loads(line) for line in shell("history", "--json")[1].splitlines()]
    assert (entry["event"], entry["outcome"], entry["counted"], entry["survivors"]) == ("Round", "published", True, 3)
    assert command("export", server.folder, tmp_path / "out", "--version", 1).returncode == 0
    assert entry["adapter"] == sha256((tmp_path / "out" / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert entry["bytes_up"] > 0
    assert entry["began"] <= entry["sent"] <= entry["ended"]
    status, said, _ = shell("leave", "--plain")
    assert status == 0
    assert "may be deleted" in said
    assert "has left" in shell("status")[1]
    status, _, error = shell("run", "--plain")
    assert status == 2
    assert "has left" in error
    membership = FederationState(tmp_path / "state").membership
    assert membership is not None
    assert membership.left
    told = json.loads(command("devices", server.folder, "--json").stdout)
    devices = {device["device"]: device["status"] for device in told}
    assert devices[mine.state.identity.public.hex()] == "left"


def test_the_environment_names_the_folder_and_a_new_link_brings_a_device_back(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEDIT_STATE", str(tmp_path / "state"))
    first, second = server.invite("--count", 2)
    enrol(first, tmp_path)

    async def leave_and_return() -> list[str]:
        async with Client.open() as client:
            await client.leave()
        async with quick_client(second, tmp_path) as client:
            async for event in client.run():
                return [type(event).__name__, str(getattr(event, "new", None))]
        return []

    assert asyncio.run(leave_and_return()) == ["Joined", "True"]
