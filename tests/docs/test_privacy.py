"""What the pages say of what leaves a machine and what lies on its disk holds for the code, and all say the same."""

import ast
import re
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest
from documents import ROOT

from edge_client.cli.session import LEAVES
from fedit_shared.messages import ClientMessage
from fedit_shared.secagg import Update
from fedit_shared.secagg.bodies import MusterBody

CLIENT = ROOT / "edge_client" / "src" / "edge_client"
PRIVACY = (ROOT / "docs" / "privacy.md").read_text(encoding="utf-8")
KNOWS = (ROOT / "agg_server/src/agg_server/dashboard/templates/knows.html").read_text(encoding="utf-8")
THREATS = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")

WORD_OF = {
    # what tells something of a machine or its owner, and the word for it in every list
    "delta": "mask",
    "examples": "records",
    "loss": "mean loss",
    "client_version": "client's version",
    "accelerator": "accelerator",
    "memory_gib": "memory",
    "identity": "key",
    "round_key": "key for the round|key made for the round",
    "round_key_hash": "key for the round|key made for the round",
    "floor": "how few survivors",
    "packets": "sealed",
    "report": "three short answers",
    "survivors_hash": "three short answers",
    "words": "three short answers",
    # what the protocol itself repeats, or what anybody sees who is spoken with
    **dict.fromkeys(("token", "time", "signature", "body", "wait", "round", "cohort", "after"), ""),
    **dict.fromkeys(("federation", "task_hash", "adapter", "not_after"), ""),
}
BESIDES = ("clipped", "network address", "Hugging Face hub")
"""The clipped share is added to an update when it is quantized; the last two belong to no message."""


def between(text: str, start: str, end: str) -> str:
    """A part of a page, in one line."""
    return " ".join(text.partition(start)[2].partition(end)[0].replace("*", "").split())


LISTS = {
    "join": " ".join(LEAVES),
    "docs/privacy.md": between(PRIVACY, "## What leaves your machine", "\n## "),
    "docs/threat-model.md": between(THREATS, "What leaves a participant's machine:", "What never"),
    "the dashboard": between(KNOWS, "<h2>What it knows</h2>", "</table>").replace("’", "'"),
}


def test_every_field_that_a_client_sends_has_a_word_in_the_lists() -> None:
    sent = {name for kind in get_args(ClientMessage) for name in kind.__struct_fields__}
    sent |= {field.name for kind in (MusterBody, Update) for field in fields(kind)}
    assert sent == set(WORD_OF)


@pytest.mark.parametrize("where", LISTS)
def test_the_lists_of_what_leaves_and_what_the_server_knows_name_the_same(where: str) -> None:
    words = {*WORD_OF.values(), *BESIDES} - ({"Hugging Face hub"} if where == "the dashboard" else set())
    missing = [word for word in words if not re.search(word, LISTS[where], re.IGNORECASE)]
    assert missing == []


NETWORK = {"aiohttp", "http", "httpx", "huggingface_hub", "lm_eval", "requests", "smtplib", "socket", "urllib"}
ALLOWED = {
    **dict.fromkeys(("transport/http.py", "transport/download.py", "transport/proxy.py"), "the federation's server"),
    "evaluation/endpoint.py": "a judge, which asks first",
    "hub.py": "the Hugging Face hub, downloads only",
    "inference/harness.py": "data of public tasks, from the hub",
}


def imported(module: Path) -> set[str]:
    """The packages that it imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {name.name.partition(".")[0] for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.partition(".")[0])
    return found


def test_only_these_modules_can_speak_with_anybody() -> None:
    found = {path.relative_to(CLIENT).as_posix() for path in CLIENT.rglob("*.py") if imported(path) & NETWORK}
    assert found == set(ALLOWED)


def test_records_are_sent_by_the_judge_alone() -> None:
    users = {
        path.relative_to(CLIENT).as_posix()
        for path in CLIENT.rglob("*.py")
        if re.search(r"\bendpoint import .*\bEndpoint\b", path.read_text(encoding="utf-8"))
    }
    assert users == {"cli/judge.py", "evaluation/judging.py"}


def test_the_page_names_every_file_of_the_state_folder() -> None:
    """The module that lays the folder out lists its files."""
    kept = ast.get_docstring(ast.parse((CLIENT / "state" / "federation.py").read_text(encoding="utf-8"))) or ""
    table = between(PRIVACY, "## What stays on my disk?", "What is removed")
    words = {
        "identity": "device's key", "membership": "which federation", "preferences": "preferences", "tasks/": "task",
        "pause": "preferences", "adapters/": "adapter versions", "updates/": "change of the adapter",
        "rounds/": "what was said in the round", "private": "shared-a", "lock": "",
    }  # fmt: skip
    named = re.findall(r"(?:^|(?<=  ))([a-z]+/?)(?=  )", kept, re.MULTILINE)
    assert set(named) == set(words)
    assert [name for name in named if words[name] not in table] == []
