"""The vectors are the generator's, the code passes them, and the check itself notices any single change."""

import json
import subprocess
import sys
import tracemalloc
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from fedit_shared.conformance import KINDS, check, run
from fedit_shared.conformance.__main__ import LARGEST_FILE, main
from fedit_shared.errors import FeditError, UserError

VECTORS = Path(__file__).parents[1] / "vectors"
FILES = sorted(VECTORS.glob("*.json"))


@cache
def load(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def one_case_of_each_kind() -> list[Any]:
    """Of each file and kind the first case with a result, and the first with an error."""
    found: dict[tuple[str, str, bool], Any] = {}
    for path in FILES:
        for case in load(path)["cases"]:
            name = path.stem, case["kind"], "error" in case
            found.setdefault(name, pytest.param(path, case, id=f"{path.stem}: {case['name']}"))
    return list(found.values())


def flipped(value: Any) -> list[Any]:
    """``value`` with one leaf changed, once for each leaf."""
    if isinstance(value, dict):
        return [{**value, key: changed} for key, part in value.items() for changed in flipped(part)]
    if isinstance(value, list):
        return [[*value[:i], changed, *value[i + 1 :]] for i, part in enumerate(value) for changed in flipped(part)]
    if isinstance(value, bool) or value is None:
        return [not value]
    if isinstance(value, str):
        return [value[:-1] + ("0" if value[-1:] != "0" else "1")]
    return [value + 1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_installed_code_passes_every_vector(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(load(path)["cases"]) > 10
    assert all(line.startswith("ok ") for line in lines)


def test_the_committed_files_are_what_the_generator_gives() -> None:
    done = subprocess.run(
        [sys.executable, VECTORS / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_the_vectors_have_every_kind_of_case_and_every_error_that_a_peer_can_cause() -> None:
    cases = [case for path in FILES for case in load(path)["cases"]]
    assert {case["kind"] for case in cases} == set(KINDS)
    errors = {case["error"] for case in cases if "error" in case}
    assert errors == {"malformed", "forged", "unauthorized", "conflict", "unsafe", "sum", "usage"}


def test_every_size_of_slot_is_shown_and_a_cohort_with_two_rows() -> None:
    cohorts = [load(path) for path in FILES if path.stem.startswith("cohort-")]
    sessions = [next(c["out"] for c in cohort["cases"] if c["kind"] == "session") for cohort in cohorts]
    assert {session["members"] for session in sessions} == {3, 5, 10}
    assert {session["rows"] for session in sessions} == {1, 2}
    abouts = " ".join(cohort["about"] for cohort in cohorts)
    assert all(f"{m} slots to a coefficient" in abouts for m in (2, 3, 4))


@pytest.mark.parametrize(("path", "case"), one_case_of_each_kind())
def test_one_changed_value_fails_a_case(path: Path, case: dict[str, Any]) -> None:
    given = load(path)["given"]
    assert run(case, given).passed
    expected = "error" if "error" in case else "out"
    changes = flipped(case[expected])
    for changed in changes[:: max(1, len(changes) // 12)]:
        outcome = run({**case, expected: changed}, given)
        assert not outcome.passed
        assert "wanted" in outcome.difference
    other = {key: case[key] for key in ("name", "kind", "in")}
    swapped = {**other, "error": "forged"} if expected == "out" else {**other, "out": {"accepted": True}}
    assert not run(swapped, given).passed


def test_one_changed_value_makes_the_command_fail_and_name_the_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = json.loads((VECTORS / "parameters.json").read_text())
    file["cases"][3]["out"]["threshold"] += 1
    wrong = tmp_path / "wrong.json"
    wrong.write_text(json.dumps(file))
    assert main([str(VECTORS / "keys.json"), str(wrong)]) == 1
    failed = [line for line in capsys.readouterr().out.splitlines() if not line.startswith("ok ")]
    assert len(failed) == 1
    assert file["cases"][3]["name"] in failed[0]
    assert ".out.threshold: wanted" in failed[0]


def test_a_changed_secret_of_a_device_shows_in_its_contribution() -> None:
    """What is computed once for a session must not be taken for another's."""
    file = load(VECTORS / "cohort-5.json")
    case = next(case for case in file["cases"] if case["kind"] == "contribute")
    assert run(case, file["given"]).passed
    for name in ("randomness", "loss", "examples"):
        devices = [dict(device) for device in file["given"]["devices"]]
        devices[0][name] = flipped(devices[0][name])[0] if name == "randomness" else 600
        assert not run(case, {**file["given"], "devices": devices}).passed


def test_a_case_that_crashes_the_code_fails_and_the_next_one_runs() -> None:
    good = load(VECTORS / "keys.json")["cases"][0]
    broken = [
        {**good, "in": {}},
        {**good, "in": {"key": 7}},
        {**good, "in": {"key": "no hex"}},
        {**good, "kind": "another"},
        {**good, "error": "forged"},
        {key: good[key] for key in ("name", "kind", "in")},
    ]
    data = json.dumps({"format": "fedit-vectors-1", "about": "", "given": {}, "cases": [*broken, good]}).encode()
    assert [outcome.passed for outcome in check(data)] == [False] * len(broken) + [True]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        "7",
        "\udcff",
        "[" * 100_000,
        '{"format": "fedit-vectors-1", "given": {}, "cases": []}',
        '{"format": "fedit-vectors-1", "given": {}, "cases": [7]}',
        '{"format": "fedit-vectors-1", "given": {}, "cases": [["name", "kind", "in"]]}',
        '{"format": "fedit-vectors-1", "given": {}, "cases": [{"name": "", "kind": "roots", "in',
        '{"format": "fedit-vectors-2", "given": {}, "cases": [{"name": "", "kind": "", "in": {}}]}',
    ],
)
def test_what_is_no_vector_file_is_refused(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = text.encode(errors="surrogateescape")
    with pytest.raises(UserError, match="vector file"):
        check(data)
    path = tmp_path / "file.json"
    path.write_bytes(data)
    assert main([str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


HOSTILE = [
    {"name": "\x1b[2J\nok  another.json  case", "kind": "\x1b]0;title\x07", "in": {}, "out": {}},
    {"name": "\ud800\u202e", "kind": "roots", "in": {}, "out": {"\x1b[31m": []}},
    {"name": "crash", "kind": "key", "in": {"key": "\x1b[31m"}, "out": {}},
    {"name": "itself", "kind": "receipt", "in": {"deal": {"of": "deal"}, "signature": ""}, "out": {}},
    {"name": "bytes", "kind": "receipt", "in": {"deal": {"repeat": "00", "size": 2**33}, "signature": ""}, "out": {}},
    {"name": "negative", "kind": "receipt", "in": {"deal": {"repeat": "00", "size": -1}, "signature": ""}, "out": {}},
    {
        "name": "filled",
        "kind": "receipt",
        "in": {"deal": {"of": "signature", "size": 2**33}, "signature": ""},
        "out": {},
    },
    {"name": "words", "kind": "uniform", "in": {"key": "00" * 16, "prime": 0, "row": 0, "count": 2**33}, "out": {}},
    {
        "name": "values",
        "kind": "mean",
        "in": {
            "sizes": [2**25, 2**25, 2**25],
            "clip": [1, 1, 1],
            "slot_bits": 16,
            "members": 3,
            "max_weight": 1,
            "survivors": 3,
            "sums": "030000000000000000000000",
        },
        "out": {},
    },
]


def test_a_hostile_file_fails_case_by_case_takes_no_memory_and_does_nothing_to_a_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "file.json"
    path.write_text(json.dumps({"format": "fedit-vectors-1", "about": "", "given": {}, "cases": HOSTILE}))
    tracemalloc.start()
    assert main([str(path)]) == 1
    assert tracemalloc.get_traced_memory()[1] < 2**28
    tracemalloc.stop()
    shown = capsys.readouterr().out
    assert all(letter.isprintable() for letter in shown.replace("\n", ""))
    assert len(shown.splitlines()) == len(HOSTILE)
    assert all(line.startswith("FAILED  ") for line in shown.splitlines())


def test_a_file_that_is_far_too_large_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "file.json"
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)
    assert main([str(path)]) == 2
    assert "larger than" in capsys.readouterr().err


def test_a_file_that_is_not_there_and_no_file_at_all_are_said_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nowhere.json"]) == 2
    assert main([]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_the_command_runs_without_the_tests() -> None:
    command = [sys.executable, "-P", "-m", "fedit_shared.conformance", VECTORS / "keys.json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_every_error_has_a_code_of_its_own() -> None:
    def below(kind: type[FeditError]) -> list[type[FeditError]]:
        return [kind, *(deeper for child in kind.__subclasses__() for deeper in below(child))]

    codes = [kind.code for kind in below(FeditError) if kind.__module__ == "fedit_shared.errors"]
    assert len(set(codes)) == len(codes)
