"""docs/protocol.md names what a second implementation needs; what it names is what the code has."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from msgspec import inspect

from agg_server import errors as server_errors
from agg_server.web.app import RETRY_AFTER
from agg_server.web.reading import PATIENCE_SECONDS
from agg_server.web.reading import SLOWEST_BYTES_PER_SECOND as SLOWEST_SENDER
from edge_client.client.participation import LEAST_PAUSE, TOO_LATE, UPLOAD_TRIES
from edge_client.transport.http import ANSWER_SECONDS, MESSAGE_LIMIT, RETRIED, SLOWEST_BYTES_PER_SECOND
from edge_client.transport.patience import FIRST_DELAY, LONGEST_DELAY, LONGEST_RETRY_AFTER
from fedit_shared import errors
from fedit_shared.errors import FeditError, refusal
from fedit_shared.identity.keys import Purpose
from fedit_shared.identity.requests import LIFETIME
from fedit_shared.messages import CHUNK_SIZE, PIECE_SIZE, PROTOCOL_HEADER, PROTOCOL_VERSION, ROUTES, ServerMessage
from fedit_shared.messages.client import ClientMessage
from fedit_shared.messages.server import Closed, Receipt
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


ERRORS = PAGE.partition("## Errors and retries")[2].partition("\n## ")[0]
STATUSES = {int(row[0]): row for row in ROWS if row[0].isdigit() and len(row) == 4}
"""Status → its row."""


def kinds() -> set[type[FeditError]]:
    """Every error that a server may answer with."""
    found = {kind for module in (errors, server_errors) for kind in vars(module).values() if isinstance(kind, type)}
    return {kind for kind in found if issubclass(kind, FeditError)}


def test_every_status_and_code_that_a_server_answers_with_is_on_the_page_and_no_other():
    told = {(status, code) for status, row in STATUSES.items() for code in row[1].split(", ")}
    assert told == {(kind.http_status, kind.code) for kind in kinds()}
    assert all(f"| {row[0]} |" in ERRORS for row in STATUSES.values())


def test_the_page_says_which_statuses_are_tried_again():
    [named] = re.findall(r"\*\*Tried again\*\* are ([\d, ]+),", ERRORS)
    assert {int(status) for status in named.split(",")} == RETRIED
    for status, row in STATUSES.items():
        assert row[3].startswith("tries again") is (status in RETRIED), status
        assert row[3].startswith("gives up") is (status in (400, 403, 413, 426)), status


def test_a_client_reads_every_code_on_the_page_that_is_not_tried_again_as_the_error_that_the_server_meant():
    for kind in kinds():
        if kind.http_status not in RETRIED and kind.code not in ("usage", "malformed"):
            assert refusal(kind.code).http_status == kind.http_status, kind


def test_times_and_numbers_of_tries_on_the_page_are_those_of_the_code():
    assert f"Pauses\ndouble from {FIRST_DELAY:g} s to {LONGEST_DELAY:g} s" in ERRORS
    assert f"ours: {RETRY_AFTER} with 429 and 503), at most {LONGEST_RETRY_AFTER:g} s" in ERRORS
    assert f"within {PATIENCE_SECONDS:g} s and its bound at {SLOWEST_SENDER} bytes a second" in STATUSES[408][2]
    assert f"awaited for {ANSWER_SECONDS:g} s" in ERRORS
    assert f"body takes at {SLOWEST_BYTES_PER_SECOND} bytes a second" in ERRORS
    assert f"older or newer than {LIFETIME} s" in STATUSES[401][2]
    assert f"more than {LIFETIME} s off" in STATUSES[401][3]
    assert f"{UPLOAD_TRIES} tries in all" in ERRORS
    assert f"at least {LEAST_PAUSE:g} s pass" in ERRORS
    statuses = sorted(kind.http_status for kind in TOO_LATE)
    assert statuses == [404, 409]
    for what in ("**Muster**", "**Report, vote, answer**"):
        assert f"{what}, 404 or 409:" in ERRORS


def test_the_page_and_the_code_say_that_closed_proves_nothing():
    assert "It is not signed and **proves nothing**" in ERRORS
    assert "proves nothing" in (Closed.__doc__ or "")
    assert "signature" not in {field.name for field in msgspec.structs.fields(Closed)}
