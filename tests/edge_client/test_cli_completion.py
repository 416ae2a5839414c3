"""Shells are told what could come next: by click's scripts, at once, and from where they look for them."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edge_client.cli import COMMANDS, main

VARIABLE = "_FEDIT_CLIENT_COMPLETE"


def script(shell: str, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as end:
        main(["completion", shell, *words])
    assert end.value.code == 0
    return capsys.readouterr().out


def told(line: str) -> list[str]:
    """What could come after ``line``: TYPE,VALUE, as bash is told it."""
    environment = {VARIABLE: "bash_complete", "COMP_WORDS": line, "COMP_CWORD": str(line.count(" "))}
    program = (
        "import sys\nfrom edge_client.cli import main\n"
        "try:\n    main()\n"
        "except SystemExit:\n"
        "    heavy = {'torch', 'transformers', 'numba', 'aiohttp', 'rich', 'numpy'} & set(sys.modules)\n"
        "    assert not heavy, heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fedit-client ", [f"plain,{name}" for name in COMMANDS]),
        ("fedit-client st", ["plain,status"]),
        ("fedit-client service ", ["plain,install", "plain,remove", "plain,show", "plain,status"]),
        ("fedit-client run --pl", ["plain,--plain"]),
        ("fedit-client join x --when i", ["plain,idle"]),
        ("fedit-client join x --data rec", ["file,rec"]),
        ("fedit-client completion z", ["plain,zsh"]),
    ],
)
def test_commands_options_and_files_are_completed_without_loading_what_trains_or_talks(
    line: str, expected: list[str]
) -> None:
    assert sorted(told(line)) == sorted(expected)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script_that_was_installed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    path = tmp_path / "bash-completion" / "completions" / "fedit-client"
    assert str(path) in script("bash", capsys, "--install")
    program = tmp_path / "bin" / "fedit-client"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m edge_client "$@"\n')
    program.chmod(0o755)
    typed = f'source "{path}"; COMP_WORDS=(fedit-client his); COMP_CWORD=1; _fedit_client_completion fedit-client'
    done = subprocess.run(
        ["bash", "--norc", "-c", f'{typed}; echo "${{COMPREPLY[@]}}"'],
        env=os.environ | {"PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == ["history"], done.stderr


@pytest.mark.parametrize(
    ("shell", "place"), [("zsh", ".zfunc/_fedit-client"), ("fish", ".config/fish/completions/fedit-client.fish")]
)
def test_the_script_is_printed_or_put_where_the_shell_looks_for_it(
    shell: str, place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    printed = script(shell, capsys)
    assert f"{VARIABLE}={shell}_complete" in printed
    said = script(shell, capsys, "--install")
    assert (tmp_path / place).read_text().rstrip() == printed.rstrip()
    assert ("~/.zshrc" in said) == (shell == "zsh")
