"""The tutorial's commands, as they stand on the page and in its order, typed into terminals of their own: real
programs, real TLS, real training. Not real is the model: tiny and random, it lies behind the name that the page
fetches."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from itertools import groupby
from pathlib import Path

import pytest
from documents import NOT_RUN, ROOT, Block, blocks
from hub import Hub, serving
from terminal import Terminal as Pty
from tiny_model import save_model

from benchmarks.ports import free_port

PAGE = ROOT / "docs" / "tutorial.md"
MODEL = "HuggingFaceTB/SmolLM2-135M-Instruct"
SECONDS = 1500
FIRST, PERSON = "Terminal 1", "Terminal 2"
QUESTIONS = ("How much memory may training use", "When may it train?", "Take part?")
pytestmark = pytest.mark.timeout(1800)  # five processes that load torch, on a machine that may be busy


class Terminal:
    """A shell in ``folder``; it ends at the first command that fails. Leaving the block ends it, and what it began."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._folder, self._count = folder, 0
        self._shell = subprocess.Popen(
            ["bash", "--norc", "-eu", "-o", "pipefail"],
            cwd=folder,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._shell.pid, signal.SIGKILL)
        self._shell.wait()

    def type(self, commands: list[str]) -> Iterator[str]:
        """Type them; what they say comes line by line until the last one is done. AssertionError if one fails."""
        self._count += 1
        script, mark = self._folder / f".typed-{os.getpid()}-{id(self)}-{self._count}", f"<{self._count} done>"
        script.write_text("\n".join(commands) + "\n")
        assert self._shell.stdin is not None
        assert self._shell.stdout is not None
        self._shell.stdin.write(f". {script} < /dev/null; echo '{mark}'\n")
        self._shell.stdin.flush()
        for line in self._shell.stdout:
            if line.rstrip() == mark:
                return
            yield line
        raise AssertionError(f"the shell ended in {commands}")


class Person(Terminal):
    """Sits before a terminal of their own, which asks what a terminal is asked, and presses Enter each time."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        super().__init__(folder, environment)
        self._environment = environment

    def type(self, commands: list[str]) -> Iterator[str]:
        """As a terminal does it. AssertionError, too, if one of the questions does not come."""
        shell = ("bash", "--norc", "-euc")
        for command in commands:
            with Pty(
                command, program=shell, folder=self._folder, environment=self._environment, patience=SECONDS
            ) as own:
                for question in QUESTIONS:
                    own.until(question, after=own.here)
                    own.here = len(own.said)
                    own.type("\n")
                assert own.end() == 0, own.said
                yield from own.said.splitlines()


def type_into(terminal: Terminal, commands: list[str], said: list[str]) -> None:
    try:
        said.extend(terminal.type(commands))
    except AssertionError as failed:
        said.append(f"FAILED: {failed}")


def programs(folder: Path) -> Path:
    """The commands as this checkout has them."""
    folder.mkdir()
    for name, package in (("fedit-client", "edge_client"), ("fedit-server", "agg_server")):
        script = folder / name
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -c "from {package}.cli import main; main()" "$@"\n')
        script.chmod(0o755)
    return folder


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, dict[str, list[str]]]]:
    """The folder in which it was typed, and what each terminal said."""
    root = tmp_path_factory.mktemp("tutorial")
    hub, folder, port = Hub(MODEL, save_model(root / "model")), root / "clone", free_port()
    folder.mkdir()
    words: dict[str, list[str]] = {}
    with serving(hub), ExitStack() as stack:
        environment = os.environ | {
            "PATH": f"{programs(root / 'bin')}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HF_ENDPOINT": hub.url,
            "HF_HOME": str(root / "hub"),
            "FEDIT_STATE": "",
            "OMP_NUM_THREADS": "1",
        }
        environment.pop("HF_HUB_OFFLINE", None)
        terminals: dict[str, Terminal] = {}

        def sit_down(name: str) -> Terminal:
            return stack.enter_context((Person if name == PERSON else Terminal)(folder, environment))

        for together, group in groupby(_run(PAGE), key=lambda block: bool(block.terminal)):
            todo = list(group)
            for some in [todo] if together else [[block] for block in todo]:
                _type(some, terminals, words, sit_down, port)
        yield folder, words


def _run(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.is_shell and not NOT_RUN.fullmatch(block.mark)]


def _type(
    some: list[Block],
    terminals: dict[str, Terminal],
    words: dict[str, list[str]],
    new: Callable[[str], Terminal],
    port: int,
) -> None:
    """Type blocks that are for different terminals at the same time, and wait for all."""
    threads = []
    for block in some:
        name = block.terminal or FIRST
        if name not in terminals:
            terminals[name] = new(name)
        commands = [re.sub(r"\b8443\b", str(port), command) for command in block.commands]
        heard = words.setdefault(name, [])
        threads.append(threading.Thread(target=type_into, args=(terminals[name], commands, heard), daemon=True))
        threads[-1].start()
    for thread in threads:
        thread.join(SECONDS)
        assert not thread.is_alive(), words
    assert not [line for heard in words.values() for line in heard if line.startswith("FAILED")], words


def test_all_terminals_are_typed_into(said: tuple[Path, dict[str, list[str]]]) -> None:
    assert sorted(said[1]) == ["Terminal 1", "Terminal 2", "Terminal 3"]
    assert sum(len(block.commands) for block in _run(PAGE)) >= 14


def test_three_participants_are_in_the_sum(said: tuple[Path, dict[str, list[str]]]) -> None:
    for name, heard in said[1].items():
        lines = [line for line in heard if "published" in line and "this update" in line]
        assert len(lines) == 1 or name == PERSON, "where it is drawn, it may be drawn again"
        assert lines
        assert all("one of 3 in the sum" in line for line in lines)


def test_who_sits_before_a_terminal_is_asked_as_the_page_says(said: tuple[Path, dict[str, list[str]]]) -> None:
    page = " ".join(PAGE.read_text(encoding="utf-8").split())
    told = "asks how much memory training may use, when it may train, and, when it has shown the task, whether to"
    assert f"{told} take part: Enter takes what stands in brackets" in page
    for question in QUESTIONS:
        asked = {name for name, heard in said[1].items() if any(question in line for line in heard)}
        assert asked == {PERSON}


def test_the_operator_sees_the_round_and_has_the_adapter(said: tuple[Path, dict[str, list[str]]]) -> None:
    folder, words = said
    assert (folder / "tuned" / "adapter_model.safetensors").is_file()
    assert (folder / "tuned" / "README.md").read_text().count(MODEL) > 0
    assert "Rounds over: 1, with this device's update: 1." in "".join(words[FIRST])
