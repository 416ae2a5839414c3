"""The documents' blocks of commands, and how each of them is held: run by a test, or marked with the reason why not."""

import re
import subprocess
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[2]
SHELLS = ("console", "sh", "shell", "bash", "powershell")
COMMANDS = re.compile(
    r"^(?:\$ |fedit-|make |pip |python3? |py |sudo |docker |curl |git |createdb |export |cp |\S*bin/|\S*\\Scripts\\)",
    re.MULTILINE,
)
FENCE = re.compile(r"^(?P<before><!--[^\n]*-->\n)?```(?P<info>[^\n`]*)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
NOT_RUN = re.compile(r"<!-- not run: (\S.{10,}) -->\n")
AS_IN = re.compile(r"<!-- as in: (\S+) -->\n")


class Block(NamedTuple):
    """What stands between two fences. ``info``: what follows the opening one."""

    page: str
    mark: str
    info: str
    body: str

    @property
    def is_shell(self) -> bool:
        """Whether it holds commands that somebody might type."""
        language = self.info.partition(" ")[0]
        return language in SHELLS or (language == "" and COMMANDS.search(self.body) is not None)

    @property
    def terminal(self) -> str:
        """Where it is to be typed: ``Terminal 2``; empty where it does not say."""
        named = re.search(r'title="(Terminal \d+)"', self.info)
        return named[1] if named else ""

    @property
    def commands(self) -> list[str]:
        """What is typed, without its prompt; one may be of several lines."""
        if "$ " in self.body:  # what is indented goes on with the line above
            return [
                found.removeprefix("$ ") for found in re.findall(r"^\$ .*(?:\n[ ]{2,}.*)*", self.body, re.MULTILINE)
            ]
        return [line for line in self.body.splitlines() if line.strip()]


def documents() -> list[Path]:
    """Every page that is kept in git or about to be: the documentation's and the READMEs."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        return sorted(path for path in ROOT.rglob("*.md") if not {".venv", "build"} & set(path.parts))
    return sorted({path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()})


def blocks(page: Path) -> list[Block]:
    """In the page's order."""
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    return [Block(name, f["before"] or "", f["info"].strip(), f["body"]) for f in FENCE.finditer(text)]
