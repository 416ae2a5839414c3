"""docs/protocol.md names what a second implementation needs; what it names is what the code has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import inspect

from edge_client.transport.http import MESSAGE_LIMIT
from fedit_shared.identity.keys import Purpose
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, PROTOCOL_HEADER, PROTOCOL_VERSION, ROUTES, ServerMessage
from fedit_shared.messages.client import ClientMessage
from fedit_shared.messages.server import Receipt
from fedit_shared.messages.task import ModelRef, RoundSettings, TaskSpec, TensorSpec, TrainingSettings
from fedit_shared.parameters import DEGREE, PRIMES
from fedit_shared.secagg import bodies

TEXT_SIZE = 400
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
    for kind in (TaskSpec, ModelRef, TensorSpec, TrainingSettings, RoundSettings):
        assert {field.name for field in msgspec.structs.fields(kind)} <= words(inside)
    require_fields(Receipt, next(row[1] for row in ROWS if row[0].startswith("prepare")))


def bounds(kind: type[msgspec.Struct], found: dict[str, set[str]]) -> dict[str, set[str]]:
    """Field → its bounds as the page writes them, of ``kind`` and of what is inside it."""
    info = inspect.type_info(kind)
    assert isinstance(info, inspect.StructType)
    for field in info.fields:
        for part in parts(field.type):
            if isinstance(part, inspect.StructType):
                bounds(part.cls, found)
            elif (bound := written(part)) is not None:
                found.setdefault(field.name, set()).add(bound)
    return found


def parts(whole: inspect.Type) -> Iterator[inspect.Type]:
    yield whole
    for inner in (getattr(whole, "item_type", None), *getattr(whole, "types", ())):
        if inner is not None:
            yield from parts(inner)


def written(part: inspect.Type) -> str | None:
    if isinstance(part, inspect.IntType | inspect.FloatType):
        if part.gt is not None:
            return f"above {part.gt} … {part.le:{'g' if isinstance(part.le, float) else 'd'}}"
        return None if part.ge is None else f"{part.ge} … {part.le}"
    longest = getattr(part, "max_length", None)
    if longest in (None, TEXT_SIZE) or longest == part.min_length:  # type: ignore[attr-defined]
        return None
    if isinstance(part, inspect.BytesType | inspect.StrType):
        return str(longest)
    return f"{part.min_length or 0} … {longest} {'numbers' if longest == 4 else 'of them'}"  # type: ignore[attr-defined]


def test_bounds_on_the_page_are_those_of_the_code():
    table = PAGE.partition("**Bounds.**")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [re.split(r" *\| *", line)[1:3] for line in table.splitlines()[2:]]
    found: dict[str, set[str]] = {}
    for kind in (*get_args(ClientMessage), *get_args(ServerMessage), TaskSpec, RoundSettings):
        bounds(kind, found)
    assert len(found) > 30
    for name, all_of_it in found.items():
        told = " ".join(bound for fields, bound in rows if name in words(fields))
        for bound in all_of_it:
            assert re.search(rf"(?<![\d.]){re.escape(bound)}(?!\d)", told), (name, bound, told)
    limits = {route.limit: str(kind.__struct_config__.tag) for kind, route in ROUTES.items()}
    (row,) = (row for row in rows if "of a request" in row[0])
    groups = dict(zip(row[1].split("; "), row[0].split("; "), strict=True))
    for kind, route in ROUTES.items():
        assert str(kind.__struct_config__.tag) in words(groups[str(route.limit)]), kind
    assert len(groups) == len(limits)
    assert str(MESSAGE_LIMIT) in rows[-1][1]


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
    assert f"bytes {PIECE_SIZE}·I …, whole pieces of {PIECE_SIZE}" in PAGE
    assert f"between two multiples of {CHUNK_SIZE})" in PAGE
    assert all(str(prime) in PAGE for prime in PRIMES)
    assert f"| N | {DEGREE} |" in PAGE
    named = PAGE.partition("Purposes: `")[2].partition("`")[0].split()
    assert named == list(get_args(Purpose))
