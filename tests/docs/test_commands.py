"""Every command in the documents is run by a test or says why not, and every name of one exists."""

import argparse
import importlib.util
import re
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import click
import pytest
from documents import AS_IN, NOT_RUN, ROOT, blocks, documents

from agg_server.cli import cli as server
from benchmarks.fedit.__main__ import parser as bench
from edge_client.cli import cli as client
from fedit_shared.errors import FeditError

RUN = {
    "docs/tutorial.md": "tests/docs/test_tutorial.py",
    "docs/operating.md": "tests/agg_server/test_operating.py",  # those without a language
}
PROGRAMS: dict[str, click.Command] = {"fedit-client": client, "fedit-server": server}
OTHERS = re.compile(r"^(?:pip|make|python|docker|sudo|systemctl|createdb|git|mkdocs|uv|towncrier|twine|ruff)\b")
OF_OTHERS = {
    *("--no-deps", "--require-hashes", "--index-url", "--generate-hashes"),  # pip's and uv's
    *("--strict", "--directory"),  # twine's, http.server's
    "--reuse-key",  # certbot's
}
NAME = re.compile(r"--[a-z0-9][a-z0-9-]+")


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    loose = [
        f"{block.page}: {block.body.splitlines()[0]}"
        for page in documents()
        for block in blocks(page)
        if block.is_shell
        and not (block.page in RUN and block.info.partition(" ")[0] in ("", "console"))
        and not NOT_RUN.fullmatch(block.mark)
        and not AS_IN.fullmatch(block.mark)
    ]
    assert loose == [], "put `<!-- not run: the reason -->` on the line before each of these, or have a test run them"


def test_a_page_that_says_so_has_the_commands_of_another_that_is_run() -> None:
    found = 0
    for page in documents():
        for block in blocks(page):
            if other := AS_IN.fullmatch(block.mark):
                name = (page.parent / other[1]).relative_to(ROOT).as_posix()
                assert name in RUN
                run = {_plain(command) for ours in blocks(ROOT / name) for command in ours.commands}
                assert {_plain(command) for command in block.commands} <= run, block.page
                found += 1
    assert found > 2


def _plain(command: str) -> str:
    """What stays the same on one machine and on three."""
    command = re.sub(r"\s+\\\n\s*", " ", command)
    command = re.sub(r"HOST|127\.0\.0\.1|0\.0\.0\.0", "HOST", command)
    command = re.sub(r'LINK|"\$\(sed -n \dp links\)"', "LINK", command)
    return re.sub(r" 2> \S+ &$| --state \w+$", "", command)


def spans(text: str) -> Iterator[str]:
    """What is set as code: lines of blocks (continued ones joined), and spans within the text."""
    for fenced in re.findall(r"^```[^\n`]*\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield from re.sub(r"\\\n\s*", " ", fenced).splitlines()
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (found.replace("\n", " ") for found in re.findall(r"`([^`]+)`", prose))


def options(command: click.Command) -> set[str]:
    """What ``command`` and all below it take."""
    taken = {name for parameter in command.params for name in (*parameter.opts, *parameter.secondary_opts)}
    return taken.union({"--help"}, *(options(one) for one in below(command).values()))


def below(command: click.Command) -> dict[str, click.Command]:
    """A group's commands, loaded."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: one for name, one in found.items() if one is not None}


def benchmarks() -> dict[str, argparse.ArgumentParser]:
    """fedit-bench's commands."""
    [commands] = [action.choices for action in bench()._actions if isinstance(action, argparse._SubParsersAction)]
    return dict(commands)


BENCH_OPTIONS = {name for command in benchmarks().values() for name in command._option_string_actions}
ALL_OPTIONS = options(client) | options(server) | BENCH_OPTIONS | OF_OTHERS
PROGRAM = re.compile(r"(?<![\w/.-])(fedit-client|fedit-server|fedit-bench)(?= |$)(.*)")
MODULE = re.compile(r"\bpython3? -m ([\w.]+)")
END = re.compile(r"[ \t]*(?:[|&;#]|2>)[ \t]*| {3,}")
PLAIN = re.compile(r"[a-z0-9][\w.:,-]*")
"""A value as it would be typed; placeholders are in capitals, names of files are nobody's business here."""


def wrong(span: str) -> str | None:
    """What in ``span`` does not exist or is refused; None if nothing is."""
    absent = [name for name in MODULE.findall(span) if not runs(name)]
    if absent:
        return f"there is no module {', '.join(absent)}"
    program = PROGRAM.search(span)
    if program is None:
        if OTHERS.match(span.removeprefix("$ ")):
            return None
        alone = NAME.match(span)
        if alone is None:
            return None
        if alone.group() not in ALL_OPTIONS:
            return f"{alone.group()} is no option"
        named = [command for command in everything(client) if alone.group() in options(command)]
        told = [refused(command, span.split()) for command in named if not isinstance(command, click.Group)]
        return told[0] if told and all(told) else None
    words = re.sub(r"[][]", "", END.split(program[2].strip())[0]).split()
    if program[1] == "fedit-bench":
        return wrong_benchmark(words)
    command = PROGRAMS[program[1]]
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        if words[0] not in below(command):
            return f"{program[1]} has no command {words[0]}"
        command = below(command)[words.pop(0)]
    missing = [name for name in NAME.findall(" ".join(words)) if name not in options(command)]
    return f"{command.name} has no option {', '.join(missing)}" if missing else refused(command, words)


def wrong_benchmark(words: list[str]) -> str | None:
    commands = benchmarks()
    if not words:
        return None
    if words[0] not in commands:
        return f"fedit-bench has no command {words[0]}"
    missing = [name for name in NAME.findall(" ".join(words)) if name not in commands[words[0]]._option_string_actions]
    return f"{words[0]} has no option {', '.join(missing)}" if missing else None


def runs(module: str) -> bool:
    """Whether ``python -m`` finds it."""
    try:
        found = importlib.util.find_spec(module)
        packed = found is not None and found.submodule_search_locations is not None
        return found is not None and (not packed or importlib.util.find_spec(f"{module}.__main__") is not None)
    except ModuleNotFoundError:
        return False


def everything(command: click.Command) -> Iterator[click.Command]:
    """``command`` and all below it."""
    yield command
    for one in below(command).values():
        yield from everything(one)


def refused(command: click.Command, words: list[str]) -> str | None:
    """What ``command`` says to the first option's value that it does not take."""
    taken = {name: one for one in command.params if isinstance(one, click.Option) for name in one.opts}
    for name, value in pairwise(words):
        option = taken.get(name)
        if option is None or option.is_flag or isinstance(option.type, click.Path) or not PLAIN.fullmatch(value):
            continue
        try:
            option.process_value(click.Context(command), (value,) if option.multiple else value)
        except (click.ClickException, FeditError) as error:
            return f"{name} {value} is refused: {error}"
    return None


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    found = [(span, told) for span in spans(page.read_text(encoding="utf-8")) if (told := wrong(span))]
    assert found == []


def test_what_does_not_exist_is_found() -> None:
    assert wrong("fedit-client jion LINK") == "fedit-client has no command jion"
    assert wrong("fedit-client data chekc FILE") == "fedit-client has no command chekc"
    assert wrong("$ fedit-server init DIR --adaptor X 2> log &") == "init has no option --adaptor"
    assert wrong("--whenever idle") == "--whenever is no option"
    assert wrong("fedit-bench rum X") == "fedit-bench has no command rum"
    assert wrong("fedit-bench run X --worker 3") == "run has no option --worker"
    assert wrong("python -m benchmarks.lyingg") == "there is no module benchmarks.lyingg"
    assert wrong("python -m benchmarks.nowhere.at_all") == "there is no module benchmarks.nowhere.at_all"
    assert (wrong("fedit-client run --when sometimes") or "").startswith("--when sometimes is refused")
    assert (wrong("fedit-client join LINK [--memory much]") or "").startswith("--memory much is refused")
    assert (wrong("--when sometimes") or "").startswith("--when sometimes is refused")
    assert wrong("fedit-client run --when 22:00-06:00,idle    # at night") is None
    assert wrong("fedit-client join LINK --data FILE [--memory 6GiB]") is None
