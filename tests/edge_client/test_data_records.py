"""Records are found in the forms that people have them in, and a line that is none is named."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edge_client.data import DataSource, Turn, load_records
from fedit_shared.errors import UserError

DOLLY = {"instruction": "Add", "context": "1 1", "response": "2", "category": "sums"}
ALPACA = {"instruction": "Add", "input": "1 1", "output": "2"}
CHAT = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "user", "content": "Add 1 1"},
        {"role": "assistant", "content": "2"},
    ]
}


def source(folder: Path, *lines: Any, **options: Any) -> DataSource:
    path = folder / "data.jsonl"
    texts = [line if isinstance(line, str) else json.dumps(line) for line in lines]
    path.write_bytes("\n".join(texts).encode())
    return DataSource(path=str(path), **options)


@pytest.mark.parametrize(("given", "expected"), [(3, "3"), (0, "0"), (1.5, "1.5"), (None, "")])
def test_a_category_that_is_a_number_is_its_name(tmp_path: Path, given: object, expected: str) -> None:
    [record] = load_records(source(tmp_path, DOLLY | {"category": given})).records
    assert record.category == expected


@pytest.mark.parametrize("given", [["art"], {"name": "art"}, True, None])
def test_a_category_that_is_no_name_is_none_and_loses_no_record(tmp_path: Path, given: object) -> None:
    [record] = load_records(source(tmp_path, DOLLY | {"category": given})).records
    assert (record.response, record.category) == (DOLLY["response"], "")


def test_each_form_is_recognised(tmp_path: Path) -> None:
    dolly = load_records(source(tmp_path, DOLLY))
    assert dolly.format == "dolly"
    assert [(r.instruction, r.context, r.response, r.category, r.line) for r in dolly.records] == [
        ("Add", "1 1", "2", "sums", 1)
    ]
    alpaca = load_records(source(tmp_path, ALPACA))
    assert (alpaca.format, alpaca.records[0].context, alpaca.records[0].response) == ("alpaca", "1 1", "2")
    chat = load_records(source(tmp_path, CHAT))
    assert (chat.format, chat.records[0].instruction, chat.records[0].response) == ("chat", "Add 1 1", "2")
    assert chat.records[0].earlier == (Turn("system", "Be brief."), Turn("user", "Hi"), Turn("assistant", "Hello"))


def test_other_field_names_are_mapped(tmp_path: Path) -> None:
    line = {"instruction": "Add", "answer": "2"}
    records = load_records(source(tmp_path, line, fields={"response": "answer"})).records
    assert records[0].response == "2"
    with pytest.raises(UserError, match="no field 'reply'") as caught:
        load_records(source(tmp_path, line, fields={"reply": "answer"}))
    assert "response" in caught.value.advice


BAD: dict[str, tuple[Any, str]] = {
    "no JSON": ('{"instruction": ', "not JSON"),
    "no object": ("17", "not a JSON object"),
    "a number nobody can hold": ('{"instruction": ' + "9" * 5000 + "}", "not JSON"),
    "nested without end": ("[" * 100_000, "not JSON"),
    "a field missing": ({"instruction": "Add"}, "'response' is missing"),
    "a field of another type": (DOLLY | {"context": 3}, "'context' is not a text"),
    "an empty answer": (DOLLY | {"response": " \n"}, "'response' is empty"),
}


@pytest.mark.parametrize("bad", BAD)
def test_a_bad_line_is_named_with_its_number_and_skipped_by_option(tmp_path: Path, bad: str) -> None:
    line, reason = BAD[bad]
    lines = (DOLLY, "", line, DOLLY)
    with pytest.raises(UserError, match="1 of the 3 records") as caught:
        load_records(source(tmp_path, *lines))
    assert f"line 3: {reason}" in caught.value.message
    kept = load_records(source(tmp_path, *lines, bad="skip"))
    assert [record.line for record in kept.records] == [1, 4]
    assert [bad_line.line for bad_line in kept.bad] == [3]


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([{"role": "user", "content": "Hi"}], "last two messages"),
        ([{"role": "user", "content": "Hi"}, {"role": "bot", "content": "x"}], "message 2 has a role that is not"),
        ([{"role": "user", "content": "Hi"}, {"role": "assistant", "content": ""}], "'content' is empty"),
        ([{"role": "assistant", "content": "x"}, {"role": "assistant", "content": "x"}], "last two messages"),
        (["Hi", "x"], "message 1 is not an object"),
        ("Hi", "missing or not a list"),
    ],
)
def test_a_conversation_has_to_end_with_an_answer_to_the_user(tmp_path: Path, messages: Any, reason: str) -> None:
    with pytest.raises(UserError) as caught:
        load_records(source(tmp_path, CHAT, {"messages": messages}))
    assert reason in caught.value.message


def test_of_many_bad_lines_the_first_are_shown(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        load_records(source(tmp_path, DOLLY, *["x"] * 9))
    assert "line 2:" in caught.value.message
    assert "line 6:" in caught.value.message
    assert "line 7:" not in caught.value.message
    assert "and 4 more" in caught.value.message


def test_a_file_without_one_record_is_refused_even_if_bad_lines_may_be_skipped(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its 2 fields are not those of") as caught:
        load_records(source(tmp_path, {"question": "1 + 1", "answer": "2"}, bad="skip"))
    assert "--field response=NAME" in caught.value.advice


def test_what_is_no_text_file_is_refused_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    for content, says in (
        (b"", "is empty"),
        (b"\n\n", "is empty"),
        (b"\x7fELF\0\0", "binary"),
        ("ä".encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b\x08", "compressed"),
        (b"PAR1", "as Parquet"),
        (b'{"instruction": "\xff"}\n', "not UTF-8"),
    ):
        path.write_bytes(content)
        with pytest.raises(UserError, match=says) as caught:
            load_records(DataSource(path=str(path)))
        assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="is a folder"):
        load_records(DataSource(path=str(tmp_path)))
    with pytest.raises(UserError, match="No such file"):
        load_records(DataSource(path=str(tmp_path / "absent")))


def test_a_mark_at_the_start_and_windows_line_ends_are_no_matter(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    content = b"\xef\xbb\xbf" + json.dumps(DOLLY).encode() + b"\r\n" + json.dumps(DOLLY).encode()
    path.write_bytes(content)
    found = load_records(DataSource(path=str(path)))
    assert len(found.records) == 2
    assert found.sha256 == hashlib.sha256(content).digest()


def test_categories_are_counted(tmp_path: Path) -> None:
    found = load_records(source(tmp_path, DOLLY, DOLLY | {"category": "art"}, DOLLY))
    assert found.categories() == {"art": 1, "sums": 2}
