"""Every error that can reach a person says what to do next, and ends with a documented status."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest

from edge_client.cli import COMMANDS, EPILOG, cli, main, resume
from edge_client.data import DataSource
from edge_client.state import FederationState, Membership, Preferences
from fedit_shared.identity import JoinLink

ROOT = Path(__file__).parents[2]
NODES = [
    (f"{path.relative_to(ROOT)}", node)
    for folder in ("edge_client/src", "shared/src")
    for path in sorted((ROOT / folder).rglob("*.py"))
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
]
CLASSES = [node for _, node in NODES if isinstance(node, ast.ClassDef)]


def errors() -> dict[str, list[ast.ClassDef]]:
    """The tree of errors: each class by its name, with its ancestors up to FeditError after it."""
    found = {"FeditError": [node for node in CLASSES if node.name == "FeditError"]}
    for _ in range(5):  # the tree's depth, and some
        for node in CLASSES:
            for base in node.bases:
                if isinstance(base, ast.Name) and base.id in found:
                    found[node.name] = [node, *found[base.id]]
    return found


def own(node: ast.ClassDef, name: str) -> object:
    """The constant that the class sets ``name`` to; None if it does not."""
    for line in node.body:
        if isinstance(line, ast.Assign | ast.AnnAssign) and isinstance(line.value, ast.Constant):
            targets = line.targets if isinstance(line, ast.Assign) else [line.target]
            if any(isinstance(target, ast.Name) and target.id == name for target in targets):
                return line.value.value
    return None


def advises(kinds: list[ast.ClassDef]) -> bool:
    """Whether an error of this class has advice without being given any."""
    calls = [call for call in ast.walk(kinds[0]) if isinstance(call, ast.Call)]
    gives = any(keyword.arg == "advice" for call in calls for keyword in call.keywords)
    return gives or any(own(kind, "usual") for kind in kinds)


def test_every_error_is_raised_with_advice_or_is_of_a_kind_that_has_some() -> None:
    tree = errors()
    assert {"UserError", "DiskError", "ForgedError", "ClockError", "ModelError", "UnshownError"} <= set(tree)
    raised, mute = 0, []
    for where, node in NODES:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in tree:
            raised += 1
            given = [keyword.value for keyword in node.keywords if keyword.arg == "advice"]
            empty = not given or (isinstance(given[0], ast.Constant) and not given[0].value)
            if empty and not advises(tree[node.func.id]):
                mute.append(f"{where}:{node.lineno} {node.func.id}")
    assert raised > 150, "the walk sees what is raised"
    assert mute == []


FOR_OTHERS = {
    "edge_client/src/edge_client/training/create.py": {"new-adapter"},
    "edge_client/src/edge_client/client/personal.py": {"personal"},
    "edge_client/src/edge_client/client/chatting.py": {"chat"},
}
"""What is called by other commands than ``join`` and ``run``; ``cli/NAME.py`` is by NAME alone."""
OTHER_PARTS = {"edge_client/src/edge_client/evaluation/", "edge_client/src/edge_client/inference/"}
NAMED = re.compile(r"`fedit-client ([a-z-]+)[^`]*`|--[a-z][a-z-]+")


def advices() -> list[tuple[str, str]]:
    """Every text that is an error's advice or a part of it, with its file."""
    found = []
    constants = {
        (where, target.id): node.value
        for where, node in NODES
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for where, node in NODES:
        if isinstance(node, ast.keyword) and node.arg == "advice":
            values = [constants.get((where, name.id)) for name in ast.walk(node.value) if isinstance(name, ast.Name)]
            found += [(where, value) for value in (node.value, *values) if value is not None]
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id in ("usual", "advice") for target in targets):
            found.append((where, node.value))
    texts = (
        (where, part.value) for where, value in found for part in ast.walk(value) if isinstance(part, ast.Constant)
    )
    return [(where, text) for where, text in texts if isinstance(text, str)]


def takes(command: str) -> set[str]:
    """The options of ``fedit-client COMMAND`` and of what is below it."""
    found = cli.get_command(click.Context(cli), command)
    assert found is not None, command
    commands = [found, *(found.commands.values() if isinstance(found, click.Group) else [])]
    return {name for one in commands for parameter in one.params for name in parameter.opts}


def test_an_option_that_is_advised_is_one_of_the_command_that_advises_it() -> None:
    seen, refused = 0, []
    for where, text in advices():
        if any(where.startswith(part) for part in OTHER_PARTS):
            continue
        at_work = FOR_OTHERS.get(where, {"join", "run"})
        if "/cli/" in where:
            name = Path(where).stem.replace("_", "-")
            at_work = {name} if name in COMMANDS else {"join", "run"}
        for said in NAMED.finditer(text):
            options = set(re.findall(r"--[a-z][a-z-]+", said[0])) - {"--help"}
            wanted = {(command, option) for command in ({said[1]} if said[1] else at_work) for option in options}
            seen += len(wanted)
            refused += [f"{where}: {command} {one}" for command, one in wanted if one not in takes(command)]
    assert seen > 40, "the walk sees what is advised"
    assert refused == []


def test_every_status_that_an_error_ends_with_is_documented() -> None:
    ends = {own(kind, "exit_code") for kinds in errors().values() for kind in kinds} - {None}
    told = {int(number) for number in re.findall(r"[:;] (\d+) ", EPILOG)}
    assert told == ends | {0, 130}
    page = (ROOT / "edge_client" / "README.md").read_text(encoding="utf-8")
    assert {int(number) for number in re.findall(r"^\| (\d+) \|", page, re.MULTILINE)} == told


def test_help_names_every_status(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    assert " ".join(EPILOG.split()) in " ".join(capsys.readouterr().out.split())


def test_a_bug_ends_with_1_its_traceback_and_what_to_do(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(**_: object) -> None:
        raise RuntimeError("two and two are five")

    monkeypatch.setattr(resume.command, "callback", broken)
    with pytest.raises(SystemExit) as end:
        main(["resume"])
    said = capsys.readouterr().err
    assert end.value.code == 1
    assert "Traceback" in said
    assert said.splitlines()[-2].startswith("Error: RuntimeError: two and two are five")
    assert "report it" in said


def test_a_file_that_was_there_the_last_time_may_come_back_and_a_wrong_name_never_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    link = JoinLink("https://127.0.0.1:9", b"f" * 32, b"t" * 16, b"p" * 32)
    folder, absent = tmp_path / "state", tmp_path / "disk" / "data.jsonl"
    with FederationState(folder) as state:
        state.membership = Membership(federation=link.federation, address=link.address, pin=link.pin)
        state.preferences = Preferences(data=DataSource(path=str(absent)))
    for words, status in (
        (["run"], 3),
        (["join", str(link), "--data", str(tmp_path / "mistyped")], 2),
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, "--state", str(folder), "--json"])
        told = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert (told["code"], told["exit_code"], end.value.code) == ("absent", status, status)


def test_who_closes_the_pipe_gets_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "response": "b"}\n')
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "edge_client", "data", "check", str(tmp_path / "data.jsonl")],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full, a disk that is always full (Linux)")
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_full_disk_under_stdout_is_no_bug(more: list[str], tmp_path: Path) -> None:
    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "response": "b"}\n')
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "edge_client", "data", "check", str(tmp_path / "data.jsonl"), *more],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        mute = subprocess.run(
            [sys.executable, "-m", "edge_client", "status", "--state", str(tmp_path), *more],
            stdout=full,
            stderr=full,
            check=False,
        )
    assert done.returncode == 6
    assert [line[:6] for line in done.stderr.splitlines()] == ["Error:", "Make r"]
    assert "No space left" in done.stderr
    assert mute.returncode == 2, "an error that nobody can be told ends as it would"


def test_a_file_that_joining_would_refuse_is_told_to_programs_and_people(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data.jsonl").write_text('{"instruction": "a", "response": "b"}\n{"instr')
    with pytest.raises(SystemExit) as end:
        main(["data", "check", str(tmp_path / "data.jsonl"), "--json"])
    said = capsys.readouterr()
    report, told = map(json.loads, said.out.splitlines())
    assert (report["event"], told["event"], told["exit_code"], end.value.code) == ("DataCheck", "Error", 2, 2)
    assert "--bad-lines skip" in told["advice"]
    assert "Joining would refuse it." in said.err


def test_a_command_that_is_mistyped_is_answered_with_the_one_that_was_meant(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["stauts"])
    assert end.value.code == 2
    assert "Did you mean 'status'?" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "--bogus"], "usage"),
        (["join", "nonsense", "--when"], "usage"),
        (["status", "--state", "/nowhere/at/all"], "usage"),
        (["history", "--last", "none"], "usage"),
        (["doctor", "--model", "./absent"], "model"),
    ],
)
def test_programs_are_told_of_an_error_in_one_line_with_advice_and_status(
    words: list[str], code: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        main([*words, "--json"])
    said = capsys.readouterr()
    told = json.loads(said.out.splitlines()[-1])
    assert (told["event"], told["code"], told["exit_code"]) == ("Error", code, end.value.code)
    assert end.value.code == 2
    assert told["message"]
    assert told["advice"]
    assert "Traceback" not in said.err
