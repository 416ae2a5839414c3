"""What a person gets wrong is said in one clear line, with an exit status; nothing is lost and no traceback shown."""

import base64
import io
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edge_client.cli import main
from edge_client.data import APPLICATION, DataSource
from edge_client.state import FederationState, Membership, Preferences
from fedit_shared.identity import JoinLink

FEDERATION, TOKEN, PIN = b"f" * 32, b"t" * 16, b"p" * 32
LINK = str(JoinLink("https://127.0.0.1:9", FEDERATION, TOKEN, PIN))


@pytest.fixture
def records(tmp_path: Path) -> Path:
    path = tmp_path / "records.jsonl"
    path.write_text(json.dumps({"instruction": "Say yes.", "context": "", "response": "Yes."}) + "\n")
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit status and stderr of ``fedit-client`` with these arguments."""
    with pytest.raises(SystemExit) as end:
        main([str(argument) for argument in arguments])
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert isinstance(end.value.code, int)
    return end.value.code, error


@pytest.mark.parametrize(
    "link",
    [
        "nonsense",
        "http://127.0.0.1:9/join#1.x",
        LINK[:-5],
        LINK.replace("#1.", "#2."),
        f"https://127.0.0.1:9/join#1.{base64.urlsafe_b64encode(b'short').decode()}",
    ],
)
def test_a_link_that_is_none_is_refused_with_advice(
    link: str, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, error = fails(capsys, "join", link, "--data", records)
    assert status == 2
    assert error.startswith("Error: ")
    assert len(error.strip().splitlines()) == 2


def test_a_link_can_be_given_where_no_list_of_processes_shows_it(
    records: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{LINK[:-5]}\n"))
    status, error = fails(capsys, "join", "-", "--data", records)
    assert status == 2
    assert "link" in error
    assert LINK[:-5] not in error


@pytest.mark.parametrize("option", ["--data", "--state", "--model-path"])
def test_a_name_that_is_no_text_is_refused_in_one_line(
    option: str, tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    named = {"--data": records, "--state": tmp_path / "state"} | {option: os.fsdecode(b"/tmp/a\xffb")}
    status, error = fails(capsys, "join", LINK, *(word for pair in named.items() for word in pair))
    assert status == 2
    assert "is not valid UTF-8" in error


@pytest.mark.parametrize("field", ["response", "=answer", "response="])
def test_a_mapping_that_is_none_is_refused(field: str, records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = fails(capsys, "join", LINK, "--data", records, "--field", field)
    assert status == 2
    assert "response=answer" in error


def test_without_data_and_terminal_the_reason_is_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = fails(capsys, "join", LINK, "--state", tmp_path / "state")
    assert status == 2
    assert "--data FILE" in error
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "cannot be read"), ("", "empty"), ('{"instruction": "a", "response": "b"}\nrubbish\n', "line 2")],
)
def test_data_that_is_missing_empty_or_broken_is_named_with_its_lines_before_anything_is_sent(
    content: str | None, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = tmp_path / "data.jsonl"
    if content is not None:
        data.write_text(content)
    status, error = fails(capsys, "join", LINK, "--data", data, "--state", tmp_path / "state")
    assert status == 2
    assert said in error


def test_a_slip_in_the_data_or_model_path_leaves_what_was_set_before(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    state = tmp_path / "state"
    before = Preferences(data=DataSource(path=str(records)))
    with FederationState(state) as held:
        held.preferences = before
    for slip in (("--data", tmp_path / "none.jsonl"), ("--model-path", tmp_path)):
        status, _ = fails(capsys, "join", LINK, "--state", state, *slip)
        assert status == 2
        assert FederationState(state).preferences == before


def test_what_an_error_of_run_advises_is_given_to_run_and_stays(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "state"
    with FederationState(folder) as state:  # its joining is not finished: it ends before it asks the server
        state.membership = Membership(federation=b"g" * 32, address="https://127.0.0.1:9", pin=None)
        state.preferences = Preferences(data=DataSource(path=str(records), container="jsonl"))
    with records.open("a") as file:
        file.write("rubbish\n")
    assert "--bad-lines skip" in fails(capsys, "run", "--state", folder)[1]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    given = ("--bad-lines", "skip", "--memory", "4GiB", "--min-survivors", 5, "--model-path", tmp_path / "model")
    for words in (given, ()):
        assert "joining was not finished" in fails(capsys, "run", "--state", folder, *words)[1]
        assert FederationState(folder).preferences == Preferences(
            data=DataSource(path=str(records), bad="skip", container="jsonl"),
            memory_bytes=2**32,
            min_survivors=5,
            model_folder=str(tmp_path / "model"),
        )


def test_records_of_an_application_are_never_looked_for_in_a_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FederationState(tmp_path / "state") as state:
        state.membership = Membership(federation=FEDERATION, address="https://127.0.0.1:9", pin=None)
        state.preferences = Preferences(data=DataSource(path=APPLICATION))
    for words in (("run", "--bad-lines", "skip"), ("join", LINK)):
        status, error = fails(capsys, *words, "--state", tmp_path / "state")
        assert status == 2
        assert "come from an application" in error


def test_a_second_client_on_the_same_folder_is_told_so(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FederationState(tmp_path / "state"):
        status, error = fails(capsys, "join", LINK, "--data", records, "--state", tmp_path / "state")
    assert status == 7
    assert "Another fedit-client is at work" in error


def test_a_folder_of_another_federation_is_not_touched(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FederationState(tmp_path / "state") as state:
        state.membership = member = Membership(federation=b"g" * 32, address="https://a:1", pin=None)
    status, error = fails(capsys, "join", LINK, "--data", records, "--state", tmp_path / "state")
    assert status == 2
    assert "another federation" in error
    assert FederationState(tmp_path / "state").membership == member


def test_a_folder_that_cannot_be_made_is_named(
    tmp_path: Path, records: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    status, error = fails(capsys, "join", LINK, "--data", records, "--state", tmp_path / "file" / "state")
    assert status == 6
    assert "file" in error


@pytest.mark.parametrize("memory", ["much", "6 parsecs", "12", "-1GiB"])
def test_a_size_that_is_none_is_refused(memory: str, records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, error = fails(capsys, "join", LINK, "--data", records, "--memory", memory)
    assert status == 2
    assert "6GiB" in error


def test_a_floor_below_the_protocols_is_refused(records: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert fails(capsys, "join", LINK, "--data", records, "--min-survivors", 2)[0] == 2


@pytest.mark.parametrize("command", ["run", "status", "leave"])
def test_commands_that_need_a_federation_say_that_there_is_none(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("FEDIT_STATE", raising=False)
    status, error = fails(capsys, command)
    assert status == 2
    assert "fedit-client join LINK" in error
    status, error = fails(capsys, command, "--state", tmp_path / "nothing")
    assert status == 2
    assert "fedit-client join LINK" in error


def test_help_answers_without_loading_what_trains_or_talks() -> None:
    script = (
        "import sys\nfrom edge_client.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit:\n    heavy = {'torch', 'transformers', 'numba', 'aiohttp', 'rich'} & set(sys.modules)\n"
        "    print(sorted(heavy))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "new-adapter" in done.stdout
    assert done.stdout.rstrip().endswith("[]")


def test_the_sdk_and_every_command_load_without_torch() -> None:
    script = (
        "import sys\nfrom importlib import import_module\nfrom edge_client.cli import COMMANDS\n"
        "for name in COMMANDS:\n    import_module('edge_client.cli.' + name.replace('-', '_'))\n"
        "import edge_client.client, edge_client.cli.session\n"
        "assert not {'torch', 'transformers', 'peft', 'bitsandbytes'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize(
    ("sign", "status", "words"),
    [(signal.SIGINT, 130, ["--plain"]), (signal.SIGTERM, 0, ["--plain"]), (signal.SIGTERM, 0, [])],
)
def test_a_server_that_is_away_is_waited_for_until_a_stop_which_says_what_comes_next(
    sign: signal.Signals, status: int, words: list[str], tmp_path: Path, records: Path
) -> None:
    # Tests that run in the background of a script were started with SIGINT ignored, and would hand that on.
    program = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
    process = subprocess.Popen(
        [
            *(sys.executable, "-c", f"{program}from edge_client.cli import main; main()", "join", LINK),
            *("--data", str(records), "--state", str(tmp_path / "state"), *words),
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        said = [next(process.stdout)]
        while "next try in" not in said[-1]:
            said.append(next(process.stdout))
        process.send_signal(sign)
        rest, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == status
    assert "Nothing is lost" in rest
    assert error == ""
    assert any("Stays here" in line for line in said)
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", "".join(said) + rest), "no terminal: no control characters"
