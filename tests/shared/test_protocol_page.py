"""docs/protocol.md names what a second implementation needs; what it names is what the code has."""

import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from fedit_shared.identity.keys import Purpose
from fedit_shared.messages import CHUNK_SIZE, PROTOCOL_HEADER, PROTOCOL_VERSION, ROUTES, ServerMessage
from fedit_shared.messages.client import ClientMessage
from fedit_shared.messages.server import Receipt
from fedit_shared.messages.task import ModelRef, RoundSettings, TaskSpec, TensorSpec
from fedit_shared.parameters import DEGREE, PRIMES
from fedit_shared.secagg import bodies

PAGE = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in PAGE.splitlines() if line.startswith("| ")]


def words(text: str) -> set[str]:
    """Names in ``text``, without the number of bytes behind them."""
    return {re.sub(r"(?<=[a-z])(16|32|64)$", "", word) for word in re.findall(r"\w+", text)}


def require_fields(kind: type[msgspec.Struct], text: str) -> None:
    fields = msgspec.structs.fields(kind)
    assert {field.name for field in fields if field.required} <= words(text), kind


@pytest.mark.parametrize("kind", get_args(ClientMessage))
def test_every_request_is_on_the_page_with_its_path_and_fields(kind: type[msgspec.Struct]):
    (row,) = (row for row in ROWS if row[0] == f"POST {ROUTES[kind].path}")
    name, _, fields = row[1].partition(":")
    assert name == str(kind.__struct_config__.tag)
    require_fields(kind, fields)
    assert {field.name for field in msgspec.structs.fields(kind)} <= words(fields)


@pytest.mark.parametrize("kind", get_args(ServerMessage))
def test_every_answer_is_on_the_page_with_its_fields(kind: type[msgspec.Struct]):
    (row,) = (row for row in ROWS if row[0].partition(",")[0] == str(kind.__struct_config__.tag))
    require_fields(kind, row[1])


def test_task_settings_and_receipts_are_on_the_page_with_their_fields():
    inside = PAGE.partition("Inside task")[2].partition("## ")[0]
    for kind in (TaskSpec, ModelRef, TensorSpec, RoundSettings):
        assert {field.name for field in msgspec.structs.fields(kind)} <= words(inside)
    require_fields(Receipt, next(row[1] for row in ROWS if row[0].startswith("prepare")))


def test_signed_bodies_on_the_page_have_the_sizes_that_the_code_packs():
    """Fields without a number have 32 bytes; H(…) too."""
    for name, kind in {
        "enrol": bodies.EnrolBody,
        "checkin": bodies.OfferBody,
        "muster": bodies.MusterBody,
        "deal": bodies.DealBody,
        "report": bodies.ReportBody,
        "vote": bodies.VoteBody,
        "answer": bodies.AnswerBody,
        "result": bodies.ResultBody,
        "entry": bodies.RosterEntry,
    }.items():
        (line,) = re.findall(rf"^ *{name} +(\S.*‖.*?)(?: {{4}}.*)?$", PAGE, re.MULTILINE)[:1]
        size = 0
        for field in line.replace(" of the muster", "").split(" ‖ "):
            number = re.search(r"[a-zw](\d+)$", field)
            size += int(number[1]) if number else 32
        assert size == kind.LAYOUT.size, (name, line)


def test_numbers_and_purposes_on_the_page_are_those_of_the_code():
    assert f"`{PROTOCOL_HEADER}: {PROTOCOL_VERSION}`" in PAGE
    assert f"bytes {CHUNK_SIZE}·I" in PAGE
    assert all(str(prime) in PAGE for prime in PRIMES)
    assert f"| N | {DEGREE} |" in PAGE
    named = PAGE.partition("Purposes: `")[2].partition("`")[0].split()
    assert named == list(get_args(Purpose))
