"""Every command in the documents is run by a test or says why not, and every name of one exists."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from documents import AS_IN, NOT_RUN, ROOT, blocks, documents

from agg_server.cli import cli as server
from edge_client.cli import cli as client

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
    *("--workers", "--ray", "--judge"),  # fedit-bench's
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


ALL_OPTIONS = options(client) | options(server) | OF_OTHERS


def wrong(span: str) -> str | None:
    """What in ``span`` does not exist; None if all does."""
    program = re.search(r"(?<![\w/.-])(fedit-client|fedit-server)(?= |$)(.*)", span)
    if program is None:
        if "fedit-bench" in span or OTHERS.match(span.removeprefix("$ ")) or "python -m" in span:
            return None
        alone = NAME.match(span)
        return f"{alone.group()} is no option" if alone and alone.group() not in ALL_OPTIONS else None
    command, words = PROGRAMS[program[1]], re.split(r"[ \t]*(?:[|&;]|2>)[ \t]*| {3,}", program[2].strip())[0].split()
    while isinstance(command, click.Group) and words and re.fullmatch(r"[a-z][a-z-]*", words[0]):
        if words[0] not in below(command):
            return f"{program[1]} has no command {words[0]}"
        command = below(command)[words.pop(0)]
    missing = [name for name in NAME.findall(" ".join(words)) if name not in options(command)]
    return f"{command.name} has no option {', '.join(missing)}" if missing else None


@pytest.mark.parametrize("page", documents(), ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_and_option_that_a_page_names_exists(page: Path) -> None:
    found = [(span, told) for span in spans(page.read_text(encoding="utf-8")) if (told := wrong(span))]
    assert found == []


def test_what_does_not_exist_is_found() -> None:
    assert wrong("fedit-client jion LINK") == "fedit-client has no command jion"
    assert wrong("fedit-client data chekc FILE") == "fedit-client has no command chekc"
    assert wrong("$ fedit-server init DIR --adaptor X 2> log &") == "init has no option --adaptor"
    assert wrong("--whenever idle") == "--whenever is no option"
    assert wrong("fedit-client join LINK --data FILE [--memory 6GiB]") is None
