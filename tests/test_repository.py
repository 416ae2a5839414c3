"""Claims that keep the house in order."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fedit_shared.installing import INSTALL_CLIENT, INSTALL_SERVER

ROOT = Path(__file__).parents[1]
LONGEST = 400
HEAVY = ("torch", "transformers", "peft", "bitsandbytes", "accelerate")


def _tracked(*patterns: str) -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z", *patterns], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a git checkout: " + listed.stderr.strip())
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


def _text(path: Path) -> str:
    return path.read_bytes().decode(errors="replace")


def test_no_tracked_file_names_a_place_on_somebodys_machine() -> None:
    here = re.compile(r"(?<![\w.$)}])/(?:work|root|home|Users|opt/wheels|tmp/w)/")
    assert [(str(p), m.group()) for p in _tracked() if p != Path(__file__) for m in here.finditer(_text(p))] == []


def test_nothing_is_ever_unpickled() -> None:
    unsafe = re.compile(r"\b(?:pickle|dill|cloudpickle|joblib|torch|marshal)\.loads?\(|allow_pickle=True|import pickle")
    assert [str(p) for p in _tracked("*.py") if p != Path(__file__) and unsafe.search(_text(p))] == []


def test_nobody_is_told_to_install_a_package_whose_name_may_be_anybodys() -> None:
    """Until they are published, `pip install edge-client` runs whatever somebody else put under that name."""
    named = re.compile(r"pip install [^`\n]*(?<![\w./])(?:edge-client|agg-server|fedit-shared|fedit)\b")
    assert [
        (str(p), m.group()) for p in _tracked("*.py") for m in named.finditer(_text(p)) if p != Path(__file__)
    ] == []
    told = _text(ROOT / "README.md").splitlines()
    assert {INSTALL_CLIENT, INSTALL_SERVER} <= set(told)


def test_every_file_can_be_read_in_one_sitting() -> None:
    assert {str(p): n for p in _tracked("*.py") if (n := len(_text(p).splitlines())) > LONGEST} == {}


def test_tests_are_no_package() -> None:
    assert _tracked("tests/**/__init__.py", "tests/__init__.py") == []


@pytest.mark.parametrize("module", ["fedit_shared", "edge_client", "edge_client.cli", "agg_server.cli"])
def test_a_command_answers_without_loading_torch(module: str) -> None:
    loaded = f"import sys, {module}; print([name for name in {HEAVY} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=False)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


def test_every_link_between_the_documents_leads_somewhere() -> None:
    link = re.compile(r"(?:\]\(|src=\"|srcset=\")(?!https?:|#|mailto:)([^)#\"\s]+)")
    dead = [
        f"{page.relative_to(ROOT)} → {target}"
        for page in _tracked("*.md")
        for target in link.findall(_text(page))
        if not (page.parent / target).exists()
    ]
    assert dead == []


def test_who_builds_without_make_installs_what_the_tests_need() -> None:
    """As `make` does: the extra `dev` without the members, and these editable."""
    extra = tomllib.loads(_text(ROOT / "pyproject.toml"))["project"]["optional-dependencies"]["dev"]
    wanted = {re.split(r"[<>=@ ]", requirement)[0] for requirement in extra if "@" not in requirement}
    members = re.search(r"^MEMBERS := (.*)$", _text(ROOT / "Makefile"), re.MULTILINE)
    assert members is not None
    lines = re.findall(r"pip install -c constraints.txt (.*)", _text(ROOT / "CONTRIBUTING.md"))
    told = [word.strip('"') for line in lines for word in line.split() if not word.startswith("-")]
    assert {word for word in told if not word.startswith("./")} == wanted
    assert {word.removeprefix("./") for word in told if word.startswith("./")} == set(members[1].split())


def test_every_make_target_that_the_documents_name_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", _text(ROOT / "Makefile"), re.MULTILINE))
    named = {name for page in _tracked("*.md") for name in re.findall(r"`make ([a-z-]+)", _text(page))}
    assert named <= targets


@pytest.mark.parametrize("name", ["flow", "memory", "round"])
def test_a_picture_is_what_its_script_draws(name: str) -> None:
    script = ROOT / "docs" / "img" / f"make_{name}.py"
    drawn = subprocess.run([sys.executable, script, "-"], capture_output=True, check=True).stdout
    assert drawn.decode() == (script.parent / f"{name}.svg").read_text(encoding="utf-8")
