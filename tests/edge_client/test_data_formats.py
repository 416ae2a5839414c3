"""The same records come out of every kind of file, and of no bytes whatever anything but records or a clear refusal."""

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from edge_client.data import BadLine, Container, DataSource, Record, Records, Scan, load_records
from fedit_shared.errors import UserError

Suffix = Literal[".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", ""]
SUFFIXES: tuple[Suffix, ...] = (".jsonl", ".json", ".csv", ".tsv", ".parquet", ".txt", "")
DOLLY = {"instruction": "Add", "context": "1 1", "response": "2", "category": "sums"}
shared_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)

text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
said = text.filter(str.strip)
dolly = st.fixed_dictionaries({"instruction": said, "context": text, "response": said, "category": text})
turns = st.lists(st.tuples(st.sampled_from(["system", "user", "assistant"]), said), max_size=3)
talk = turns.map(lambda before: [*before, ("user", "a"), ("assistant", "b")])


def as_lines(rows: Sequence[Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def as_array(rows: Sequence[Any]) -> bytes:
    return json.dumps(rows, indent=1, ensure_ascii=False).encode()


def as_csv(rows: Sequence[Any], separator: str = ",") -> bytes:
    out = io.StringIO(newline="")
    table = csv.DictWriter(out, list(rows[0]), delimiter=separator)
    table.writeheader()
    table.writerows(rows)
    return out.getvalue().encode()


def as_parquet(rows: Sequence[Any]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(list(rows)), out)
    return out.getvalue()


WRITERS: dict[Suffix, Callable[[Sequence[Any]], bytes]] = {
    ".jsonl": as_lines,
    ".json": as_array,
    ".csv": as_csv,
    ".parquet": as_parquet,
}


def load(folder: Path, content: bytes, suffix: Suffix = ".jsonl", **options: Any) -> Records:
    path = folder / f"data{suffix}"
    path.write_bytes(content)
    return load_records(DataSource(path=str(path), **options))


def refusal(folder: Path, content: bytes, suffix: Suffix = ".jsonl", **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load(folder, content, suffix, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def placeless(records: Records) -> list[Record]:
    return [replace(record, line=0) for record in records.records]


@shared_folder
@given(st.lists(dolly, min_size=1, max_size=5))
def test_every_kind_of_file_gives_the_same_records(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    expected = [Record(**row) for row in rows]
    for suffix, write in WRITERS.items():
        found = load(tmp_path, write(rows), suffix)
        assert placeless(found) == expected, suffix
        assert found.format == "dolly"
    assert placeless(load(tmp_path, as_csv(rows, ";"), ".csv")) == expected
    assert placeless(load(tmp_path, as_csv(rows, "\t"), ".tsv")) == expected


@shared_folder
@given(st.lists(talk, min_size=1))
def test_sharegpt_gives_the_records_of_the_same_chat(tmp_path: Path, talks: list[list[tuple[str, str]]]) -> None:
    names = {"system": "system", "user": "human", "assistant": "gpt"}
    chat = [{"messages": [{"role": role, "content": words} for role, words in one]} for one in talks]
    sharegpt = [{"conversations": [{"from": names[role], "value": words} for role, words in one]} for one in talks]
    expected = placeless(load(tmp_path, as_lines(chat)))
    for suffix in (".jsonl", ".json", ".parquet"):
        assert placeless(load(tmp_path, WRITERS[suffix](chat), suffix)) == expected
        assert placeless(load(tmp_path, WRITERS[suffix](sharegpt), suffix)) == expected


starts = st.sampled_from([b"", b"[", b"{", b"PAR1", b"\xef\xbb\xbf", b'[{"instruction": "', b"instruction,response\n"])


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A file of records with something cut out and something put in."""
    whole = draw(st.sampled_from(list(WRITERS.values())))([DOLLY, DOLLY | {"response": 'say "3",\n4'}])
    start = draw(st.integers(0, len(whole)))
    return whole[:start] + draw(st.binary(max_size=8)) + whole[draw(st.integers(start, len(whole))) :]


@settings(shared_folder, max_examples=300)
@given(
    content=damaged() | st.binary(max_size=200) | st.tuples(starts, st.binary(max_size=60)).map(b"".join),
    suffix=st.sampled_from(SUFFIXES),
    container=st.sampled_from(["auto", "jsonl", "json", "csv", "parquet"]),
)
@example(b'{"instruction": "a", "response": "\\ud800"}', ".jsonl", "auto")
@example(b'"' * 50, ".csv", "csv")
@example(b"[" * 100_000, ".json", "auto")
@example(b"[" + b"9" * 5000 + b"]", ".json", "auto")
def test_no_bytes_give_anything_but_records_or_a_refusal(
    tmp_path: Path, content: bytes, suffix: Suffix, container: Container
) -> None:
    try:
        records, refused = load(tmp_path, content, suffix, container=container, bad="skip").records, ""
    except UserError as error:
        records, refused = (), str(error)
    assert "\n" not in refused
    assert bool(records) != bool(refused)
    refused.encode()
    for record in records:
        assert record.instruction.strip()
        assert record.response.strip()
        record.instruction.encode()
        record.response.encode()


def test_each_kind_counts_in_its_own_unit(tmp_path: Path) -> None:
    bad = DOLLY | {"response": ""}
    rows = [DOLLY, DOLLY | {"context": "two\nlines"}, bad, DOLLY]
    for suffix, place in ((".jsonl", "line 3"), (".json", "record 3"), (".csv", "line 5"), (".parquet", "row 3")):
        assert f"1 of the 4 records in {tmp_path}/data{suffix} cannot be read: {place}: 'response' is empty" in refusal(
            tmp_path, WRITERS[suffix](rows), suffix
        )
        found = load(tmp_path, WRITERS[suffix](rows), suffix, bad="skip")
        assert [str(bad_line) for bad_line in found.bad] == [f"{place}: 'response' is empty"]
        assert len(found.records) == 3


def test_content_decides_over_the_name_and_an_option_over_both(tmp_path: Path) -> None:
    for write in (as_lines, as_array, as_parquet):
        for suffix in SUFFIXES[:2] + SUFFIXES[4:]:
            assert len(load(tmp_path, write([DOLLY, DOLLY]), suffix).records) == 2
    assert "not clear what" in refusal(tmp_path, as_csv([DOLLY]), ".txt")
    assert len(load(tmp_path, as_csv([DOLLY]), ".txt", container="csv").records) == 1
    assert "is a Parquet file" in refusal(tmp_path, as_parquet([DOLLY]), ".parquet", container="csv")
    assert "is no Parquet file" in refusal(tmp_path, as_csv([DOLLY]), ".csv", container="parquet")
    assert "no JSON array" in refusal(tmp_path, as_lines([DOLLY]), container="json")


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_with_other_columns_is_refused_once_not_row_by_row(tmp_path: Path, suffix: Suffix) -> None:
    rows = [{"question": "1 + 1", "answer": "2", "notes": "-"}] * 3
    said_ = refusal(tmp_path, WRITERS[suffix](rows), suffix)
    assert "3 columns" in said_
    assert "row" not in said_.replace("--field", "")
    fields = {"instruction": "question", "response": "answer"}
    assert len(load(tmp_path, WRITERS[suffix](rows), suffix, fields=fields).records) == 3


def test_a_bad_row_of_a_csv_file_leaves_the_others(tmp_path: Path) -> None:
    good = b"Add,2\n"
    rows = [good, b"Add,2,3\n", b'Add,"2"x\n', b"Add\n", b"Add,\xff\n", good, b'Add,"never closed\n', good]
    found = load(tmp_path, b"\n\ninstruction,response\n" + b"".join(rows), ".csv", bad="skip")
    assert [record.line for record in found.records] == [4, 9]
    assert [bad.line for bad in found.bad] == [5, 6, 7, 8, 10]
    assert [bad.reason.split("(")[0].strip() for bad in found.bad] == [
        "3 cells, but the header has 2",
        "not CSV",
        "'response' is missing",
        "'response' is not Unicode text",
        "not CSV",
    ]
    assert "names a column twice" in refusal(tmp_path, b"response,response\n1,2\n", ".csv")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b'[{"instruction": "a", "response": "b"}', "after record 1"),
        (b'[{"instruction": "a", "response": "b"} {}]', "after record 1"),
        (b'[{"instruction": "a", "response": "b"}, {"inst', "record 2 is not JSON"),
        (b'[{"instruction": "a", "response": "b"}] x', "something follows"),
        (b"[]", "is empty"),
    ],
)
def test_a_broken_array_is_refused_with_the_place(tmp_path: Path, content: bytes, says: str) -> None:
    assert says in refusal(tmp_path, content, ".json", bad="skip")


def test_what_is_longer_than_a_record_may_be_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edge_client.data.rows.MAX_ROW", 100_000)
    rows = [DOLLY, DOLLY | {"context": "x" * 200_000}, DOLLY]
    for suffix in (".jsonl", ".csv"):
        found = load(tmp_path, WRITERS[suffix](rows), suffix, bad="skip")
        assert len(found.records) == 2
        assert len(found.bad) == 1
    assert "record 2 is longer" in refusal(tmp_path, as_array([DOLLY, DOLLY | {"context": "x" * 900_000}]), ".json")


def test_a_file_of_something_else_is_given_up_early(tmp_path: Path) -> None:
    assert "10000 of the 10000 records" in refusal(tmp_path, b"x\n" * 20_000)


def test_numbers_at_the_border_of_a_piece_are_not_halved(tmp_path: Path) -> None:
    path = tmp_path / "data.json"
    path.write_text("[" + " " * (2**16 - 4) + "12345, 678" + " " * 2**16 + "]")
    assert [(bad.line, bad.reason) for bad in Scan(DataSource(path=str(path))) if isinstance(bad, BadLine)] == [
        (1, "not a JSON object"),
        (2, "not a JSON object"),
    ]


@pytest.mark.parametrize("suffix", list(WRITERS))
def test_a_file_is_read_as_a_stream(tmp_path: Path, suffix: Suffix) -> None:
    """40 MB of records that are looked at one by one take a tenth of that."""
    path = tmp_path / f"data{suffix}"
    rows = [DOLLY | {"context": f"{number} " * 300} for number in range(20_000)]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=1000)
    else:
        path.write_bytes(WRITERS[suffix](rows))
    script = (
        "import sys, tracemalloc, pyarrow.parquet\nfrom edge_client.data import DataSource, Scan\n"
        "tracemalloc.start()\n"
        "print(sum(1 for _ in Scan(DataSource(path=sys.argv[1]))), tracemalloc.get_traced_memory()[1])\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    count, peak = map(int, done.stdout.split())
    assert count == 20_000
    assert peak < 8e6


def test_parquet_without_pyarrow_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert "pip install pyarrow" in refusal(tmp_path, as_parquet([DOLLY]), ".parquet")


def test_a_file_that_grows_while_it_is_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "data.jsonl"
    path.write_bytes(as_lines([DOLLY]))
    whole = Scan.__iter__

    def slow(scan: Scan) -> Any:
        for found in whole(scan):
            with path.open("ab") as stream:
                stream.write(b"\n")
            yield found

    monkeypatch.setattr(Scan, "__iter__", slow)
    with pytest.raises(UserError, match="changed while it was read"):
        load_records(DataSource(path=str(path)))
