"""The client as a library: what it exports, an application's records, and the newest adapter."""

import ast
import asyncio
import inspect
import io
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from participants import quick_client

import edge_client
from edge_client import DataSource, Record, Turn, load_records
from edge_client.client.folders import newest_adapter
from edge_client.data import APPLICATION, write_records
from edge_client.state import Ended, FederationState, Mustered
from fedit_shared.errors import UserError
from fedit_shared.identity import JoinLink

LINK = JoinLink("https://127.0.0.1:1", bytes(32), bytes(16), None)


def test_every_export_is_there_and_is_what_type_checkers_are_told() -> None:
    tree = ast.parse(Path(edge_client.__file__).read_text(encoding="utf-8"))
    [told] = [node for node in tree.body if isinstance(node, ast.If)]
    homes = {
        name.name: "." * node.level + str(node.module)
        for node in told.body
        if isinstance(node, ast.ImportFrom)
        for name in node.names
    }
    assert list(edge_client.__all__) == sorted(homes)
    for name, home in homes.items():
        assert getattr(edge_client, name) is getattr(import_module(home, "edge_client"), name)
    assert set(edge_client.__all__) <= set(dir(edge_client))


def test_the_reference_has_every_export() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sdk.md").read_text(encoding="utf-8")
    shown = set(re.findall(r"^::: (\S+)$", page, re.MULTILINE))
    for name in edge_client.__all__:
        thing = getattr(edge_client, name)
        if isinstance(thing, type) or inspect.isfunction(thing):  # a union's members stand there themselves
            home = thing.__module__
            assert {home, f"{home}.{name}", home.rpartition(".")[0] + f".{name}"} & shown, name


def test_every_error_that_the_reference_has_is_exported() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reference" / "sdk.md").read_text(encoding="utf-8")
    own = page.partition("The client's own")[2]
    listed = re.findall(r"members: \[(.*)\]", own)
    named = {name for names in listed for name in names.split(", ")} | set(
        re.findall(r"^::: .*\.(\w+Error)$", own, re.M)
    )
    assert len(named) > 10
    assert named <= set(edge_client.__all__)


def test_what_is_not_exported_is_named() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Cleint'"):
        _ = edge_client.Cleint


@pytest.mark.parametrize(
    "record",
    [
        Record(instruction="Say ü.", context="Aloud.\nTwice.", response='"ü"', category="speech"),
        Record(instruction="And now?", response="No.", earlier=(Turn("system", "Be brief."), Turn("user", "Hm."))),
    ],
)
def test_records_of_an_application_are_read_as_they_were_given(record: Record, tmp_path: Path) -> None:
    with (tmp_path / "records").open("wb") as file:
        write_records([record, record], file)
    read = load_records(DataSource(path=str(tmp_path / "records"), container="jsonl")).records
    assert [(r.asked, r.response, r.category, r.earlier) for r in read] == 2 * [
        (record.asked, record.response, record.category, record.earlier)
    ]


def test_one_conversation_among_instructions_keeps_every_context() -> None:
    file = io.BytesIO()
    plain = Record(instruction="Sum up.", context="It rains.", response="Rain.")
    write_records([plain, Record(instruction="Go on.", response="No.", earlier=(Turn("user", "Hm."),))], file)
    first = json.loads(file.getvalue().splitlines()[0])
    assert first["messages"][0] == {"role": "user", "content": "Sum up.\n\nIt rains."}


def test_an_application_is_asked_for_records_once_an_update(tmp_path: Path) -> None:
    asked: list[int] = []

    def records() -> Iterator[Record]:
        asked.append(1)
        yield Record(instruction=f"Question {len(asked)}", response="Yes.")

    state = FederationState(tmp_path)
    first = state.new_update(bytes(32), bytes(32))
    for _ in range(2):  # a training that was interrupted goes on with the same
        [record] = load_records(first.keep_records(records)).records
        assert record.instruction == "Question 1"
    second = state.new_update(bytes(32), bytes(32))
    [record] = load_records(second.keep_records(records)).records
    assert record.instruction == "Question 2"


def test_what_goes_wrong_in_an_application_is_not_taken_for_the_disk(tmp_path: Path) -> None:
    def records() -> Iterator[Record]:
        raise ConnectionRefusedError("the database is away")
        yield

    update = FederationState(tmp_path).new_update(bytes(32), bytes(32))
    with pytest.raises(ConnectionRefusedError, match="database"):
        update.keep_records(records)
    assert not (update.folder / "records").exists()


def test_without_its_application_a_federation_is_not_trained_for(tmp_path: Path) -> None:
    async def go() -> None:
        async with quick_client(LINK, tmp_path, data=DataSource(path=APPLICATION)) as client:
            async for _ in client.run():
                pass

    with pytest.raises(UserError, match="come from an application"):
        asyncio.run(go())


def test_the_newest_adapter_is_that_of_the_last_proved_end(tmp_path: Path) -> None:
    state = FederationState(tmp_path)
    assert newest_adapter(state) is None
    for number, (adapter, ended) in enumerate([(b"a", b"b"), (b"b", b"c"), (b"c", b"")], 1):
        mustered = Mustered(
            round=number,
            adapter=adapter,
            task_hash=b"",
            update="u",
            not_after=1,
            muster=b"",
        )
        attempt = state.new_attempt(mustered, bytes(32))
        assert newest_adapter(state) == adapter, "what training began from is known"
        outcome = "published" if ended else "expired"
        attempt.end(
            Ended(
                round=number, outcome=outcome, counted=True, survivors=3, members=3, bytes_up=1, time=1, adapter=ended
            )
        )
    assert newest_adapter(state) == b"c", "an end without proof tells nothing"
