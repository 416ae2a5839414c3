"""What is written for the service managers: read back by their own readers where they are here, and free of secrets."""

import os
import plistlib
import shutil
import stat
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from edge_client.cli import main
from edge_client.data import DataSource
from edge_client.service import KINDS, PLATFORMS, Service
from edge_client.service.windows import NAMESPACE
from edge_client.state import FederationState, Membership, Preferences
from fedit_shared.errors import UserError

ODD = "a folder of $HOME, 100 %d \"new\" 'n' \\n"
NAME = f"fedit-client-{'66' * 4}"


@pytest.fixture
def joined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a federation that was joined, in a home of the test's own, on what is taken for Linux."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    monkeypatch.setattr(sys, "platform", "linux")
    folder = tmp_path / "state"
    with FederationState(folder) as state:
        assert state.identity
        state.membership = Membership(
            federation=b"f" * 32,
            address="https://a:1",
            pin=b"p" * 32,
            server_key=b"k" * 32,
            name="the %h choir\n[Service]",
        )
        state.preferences = Preferences(data=DataSource(path="/d"))
    return folder


def run(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as end:
        main(["service", *map(str, words)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    return int(end.value.code or 0), said.out, said.err


def manager(folder: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> Path:
    """A ``systemctl`` that notes what it is told, and ends with this status; the notes."""
    folder.mkdir()
    notes, program = folder / "notes", folder / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >> "{notes}"\necho "Failed to connect to bus"\nexit {status}\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    return notes


def odd_service(tmp_path: Path, folder: str = ODD) -> Service:
    """Of an interpreter and a state whose paths hold everything that a reader could trip over."""
    python = tmp_path / folder / "python"
    python.parent.mkdir()
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    environment = {"HF_HOME": str(tmp_path / folder / "hub")}
    return Service("fedit-client-1", "the %h choir\n[Service]", str(python), tmp_path / folder / "state", environment)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)")
@pytest.mark.parametrize("folder", [ODD, "$HOME, 100 %d"])
def test_systemd_finds_nothing_wrong_with_the_unit(folder: str, tmp_path: Path) -> None:
    unit = tmp_path / "fedit-client-1.service"
    unit.write_bytes(KINDS["systemd"].render(odd_service(tmp_path, folder)))
    (tmp_path / "run").mkdir(mode=0o700)
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(unit)],
        env=os.environ | {"XDG_RUNTIME_DIR": str(tmp_path / "run")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "fedit-client" not in done.stderr, "no warning either: it names the unit"


def test_the_unit_runs_the_client_again_after_a_failure_that_may_pass_and_stays_out_of_the_way() -> None:
    service = Service(NAME, "choir", "/venv/bin/python", Path("/state $1"))
    lines = KINDS["systemd"].render(service).decode().splitlines()
    assert 'ExecStart="/venv/bin/python" "-P" "-m" "edge_client" "run" "--plain" "--state" "/state $$1"' in lines
    for line in ("Restart=on-failure", "RestartPreventExitStatus=2 4 5", "Nice=19", "WantedBy=default.target"):
        assert line in lines


def test_what_the_federation_is_named_takes_no_other_line_with_it() -> None:
    lines = KINDS["systemd"].render(Service(NAME, "evil\\", "/venv/bin/python", Path("/state"))).decode().splitlines()
    assert not any(line.endswith("\\") for line in lines)
    assert "StartLimitIntervalSec=0" in lines


def test_a_path_that_would_be_another_line_of_the_file_is_refused() -> None:
    for state, environment in (("/s\nExecStartPre=/bin/x", {}), ("/s", {"HF_HOME": "/h\r"})):
        with pytest.raises(UserError, match="line break") as refused:
            Service(NAME, "choir", "/venv/bin/python", Path(state), environment)
        assert refused.value.advice


def test_the_agent_is_a_property_list_that_names_the_same_command(tmp_path: Path) -> None:
    service = odd_service(tmp_path)
    agent = plistlib.loads(KINDS["launchd"].render(service))
    assert tuple(agent["ProgramArguments"]) == service.command
    assert agent["EnvironmentVariables"] == service.environment
    assert agent["KeepAlive"] == {"SuccessfulExit": False}
    assert agent["Nice"] == 19
    path = KINDS["launchd"].path(service.name, tmp_path)
    assert path == tmp_path / "Library" / "LaunchAgents" / f"{agent['Label']}.plist"


def test_the_task_is_xml_that_names_the_same_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USERNAME", "a<b>&c")
    service = odd_service(tmp_path)
    content = KINDS["windows"].render(service)
    assert content[:2] == "\ufeff".encode("utf-16")[:2], "as schtasks reads it"
    task = ElementTree.fromstring(content)
    space = {"t": NAMESPACE}
    assert task.findtext("t:Actions/t:Exec/t:Command", namespaces=space) == service.python
    said = task.findtext("t:Actions/t:Exec/t:Arguments", namespaces=space)
    assert said == subprocess.list2cmdline(service.command[1:])
    assert str(task.findtext("t:Triggers/t:LogonTrigger/t:UserId", namespaces=space)).endswith("a<b>&c")
    assert task.findtext("t:Settings/t:RestartOnFailure/t:Interval", namespaces=space) == "PT60S"
    assert task.findtext("t:Settings/t:ExecutionTimeLimit", namespaces=space) == "PT0S"
    assert task.findtext("t:Principals/t:Principal/t:RunLevel", namespaces=space) == "LeastPrivilege"


def test_the_service_finds_the_base_model_and_the_card_as_its_owner_does(
    joined: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("HF_HOME", "/large/100 % of $it")
    lines = run(capsys, "show", "--for", "systemd", "--state", joined)[1].splitlines()
    assert [line for line in lines if line.startswith("Environment=")] == ['Environment="HF_HOME=/large/100 %% of $it"']
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1,GPU-1")
    lines = run(capsys, "show", "--for", "systemd", "--state", joined)[1].splitlines()
    assert 'Environment="CUDA_VISIBLE_DEVICES=1,GPU-1"' in lines
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.delenv("HF_HOME")
    assert "Environment" not in run(capsys, "show", "--for", "systemd", "--state", joined)[1]


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_is_shown_without_being_written_and_holds_no_secret(
    kind: str, joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, _ = run(capsys, "show", "--for", kind, "--state", joined)
    assert status == 0
    assert "edge_client" in out
    assert str(joined) in out
    assert sys.executable in out
    secret = (joined / "identity").read_bytes().hex()
    assert not any(word in out for word in (secret, "66" * 32, "70" * 32, "6b" * 32, "https://a:1"))
    assert not (tmp_path / "home").exists()


def test_installing_starts_it_and_says_what_comes_next_and_removing_undoes_it(
    joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    notes = manager(tmp_path / "bin", monkeypatch, 0)
    unit = tmp_path / "home" / ".config" / "systemd" / "user" / f"{NAME}.service"
    assert "Not installed" in run(capsys, "status", "--state", joined)[1]
    status, out, _ = run(capsys, "install", "--state", joined)
    assert status == 0
    assert "loginctl enable-linger" in out
    assert unit.read_text().rstrip() == run(capsys, "show", "--state", joined)[1].rstrip()
    assert "\n[Service]\n" not in unit.read_text().partition("\n[Service]\n")[2], "a federation's name adds no section"
    assert f"Installed: {unit}." in run(capsys, "status", "--state", joined)[1]
    monkeypatch.setattr(sys, "executable", "/another/python")
    assert "install it again" in run(capsys, "status", "--state", joined)[1]
    assert run(capsys, "remove", "--state", joined)[0] == 0
    assert not unit.exists()
    told = [line for line in notes.read_text().splitlines() if "is-active" not in line]
    assert told == [
        "--user daemon-reload",
        f"--user enable {NAME}.service",
        f"--user restart {NAME}.service",
        f"--user disable --now {NAME}.service",
    ]
    status, _, err = run(capsys, "remove", "--state", joined)
    assert status == 2
    assert "service install" in err


def test_where_the_manager_cannot_be_reached_its_commands_are_named(
    joined: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    manager(tmp_path / "bin", monkeypatch, 1)
    status, out, err = run(capsys, "install", "--state", joined)
    assert status == 1
    assert "is written" in out
    assert "Failed to connect to bus" in err
    assert f"systemctl --user enable {NAME}.service" in err


def test_who_has_left_or_has_no_data_is_told_so(joined: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = FederationState(joined)
    (joined / "preferences").unlink()
    status, _, err = run(capsys, "install", "--state", joined)
    assert status == 2
    assert "--data FILE" in err
    state.membership = Membership(federation=b"f" * 32, address="https://a:1", pin=None, left=True)
    status, _, err = run(capsys, "install", "--state", joined)
    assert status == 2
    assert "has left" in err


def test_a_system_without_one_of_the_three_is_told_what_to_start(
    joined: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "plan9")
    status, _, err = run(capsys, "install", "--state", joined)
    assert status == 2
    assert "fedit-client run --plain" in err
    assert set(PLATFORMS.values()) == set(KINDS)


def test_the_module_that_a_service_runs_is_the_command_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [*Service("n", "f", sys.executable, tmp_path).command], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "has joined no federation" in done.stderr
