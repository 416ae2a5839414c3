"""``fedit-client data check`` tells an owner what is in a file, and tells nobody else."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny_model import make_tokenizer

from edge_client.cli import main
from edge_client.data import DataSource, Scan, Template, load_records
from edge_client.data.check import Report, examine
from edge_client.data.report import as_json, as_lines

DATA = Path(os.environ.get("FEDIT_DATA") or Path(__file__).parents[3] / "shared" / "data")  # beside the checkout
EMAIL = "jane@somewhere.de"


def row(response: str = "Yes.", **other: str) -> dict[str, str]:
    return {"instruction": "Say yes.", "response": response} | other


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "data.jsonl"
    path.write_text("".join((entry if isinstance(entry, str) else json.dumps(entry)) + "\n" for entry in rows))
    return path


def examined(path: Path, **options: Any) -> Report:
    return examine(Scan(DataSource(path=str(path))), **{"tokenizer": None, "max_length": 512} | options)


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``fedit-client data check``."""
    with pytest.raises(SystemExit) as end:
        main(["data", "check", *map(str, arguments)])
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert isinstance(end.value.code, int)
    return end.value.code, said.out, said.err


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    make_tokenizer().save_pretrained(folder)
    return folder


def test_categories_lengths_and_refusals_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, row(category="art"), "rubbish", row("No." * 40, category="art"), row("Why?", category="law"))
    status, out, err = run(capsys, path)
    assert status == 2
    assert "--bad-lines skip" in err
    assert f"{path}: 3 records (dolly, jsonl), 1 refused." in out
    assert "line 2: not JSON" in out
    assert "art          2   67 %" in out
    assert "half have up to 12, 95 % up to 128, the longest 128" in out
    assert run(capsys, path, "--bad-lines", "skip")[0] == 0


def test_a_record_is_shown_as_the_model_sees_it_with_what_it_learns_marked(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, row(), row("Of course,\nyes.", context="Be brief."))
    _, out, _ = run(capsys, path, "--model", model, "--record", 2)
    assert "line 2 as tiny sees it" in out
    shown = [line[4:] for line in out.splitlines() if line.startswith("  | ")]
    assert shown == ["<user>Say yes.", "", "Be brief.<end>", "<assistant>⟦Of course,", "yes.<end>⟧"]
    _, out, _ = run(capsys, path)
    assert "  | Say yes." in out.splitlines()
    assert "  | ⟦Yes.⟧" in out.splitlines()
    status, _, err = run(capsys, path, "--record", 9)
    assert (status, "no record at line 9" in err) == (2, True)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(st.lists(st.text(min_size=1, max_size=60).filter(str.strip), min_size=1, max_size=6), st.integers(2, 100))
def test_what_is_cut_or_skipped_is_what_training_cuts_or_skips(
    tmp_path: Path, responses: list[str], max_length: int
) -> None:
    tokenizer = make_tokenizer()
    path = write(tmp_path, *(row(response) for response in responses))
    report = examined(path, tokenizer=tokenizer, max_length=max_length)
    template = Template(tokenizer)
    records = load_records(DataSource(path=str(path))).records
    whole = [template.example(record, 0, 10_000) for record in records]
    made = [template.example(record, 0, max_length) for record in records]
    assert list(report.lengths) == [len(example.tokens) for example in whole if example is not None]
    assert report.unlearnable.first == [r.line for r, e in zip(records, made, strict=True) if e is None]
    assert report.truncated.first == [
        r.line for r, e, w in zip(records, made, whole, strict=True) if e is not None and e != w
    ]


def test_records_are_cut_where_the_models_positions_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "model"
    make_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text(json.dumps({"model_type": "gpt2", "n_positions": 64}))
    path = write(tmp_path, row("No." * 40))
    status, out, err = run(capsys, path, "--model", folder, "--json")
    assert status == 0
    assert "has 64 positions" in err
    assert (json.loads(out)["max_length"], json.loads(out)["truncated"]["count"]) == (64, 1)


def test_a_record_that_the_models_template_cannot_show_is_refused_as_training_refuses_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ 7 // (m['content'] | length - 3) }}{% endfor %}"
    tokenizer.save_pretrained(tmp_path / "model")
    path = write(tmp_path, row(), row("No.", instruction="Why"), row())
    status, out, err = run(capsys, path, "--model", tmp_path / "model")
    assert status == 2
    assert "--bad-lines skip" in err
    assert f"{path}: 2 records (dolly, jsonl), 1 refused." in out
    assert "line 2: the model's chat template cannot show it: ZeroDivisionError" in out


SECRET = "Jane Roe, ill since 2019"


@pytest.mark.parametrize("show", [False, True])
@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.jsonl", json.dumps({"messages": [{"role": SECRET, "content": "Hi"}]}), "message 1 has a role that is not"),
        ("b.jsonl", json.dumps({SECRET: "x", "answer": "y"}), "its 2 fields"),
        ("c.csv", f'"{SECRET}",Yes\n"No",No\n', "The 2 columns"),
    ],
    ids=["role", "fields", "columns"],
)
def test_what_a_bad_record_says_is_in_no_message_unless_it_is_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, content: str, says: str, show: bool
) -> None:
    path = tmp_path / name
    path.write_text(content)
    _, out, err = run(capsys, path, "--json", *(["--show"] if show else []))
    assert says in out
    assert (SECRET in out + err) is (show and "role" not in says)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ raise_exception(messages[0]['content']) }}", "TemplateError"),
        ("{{ messages[0][messages[0]['content']].x }}", "UndefinedError"),
        ("{{ raise_exception('one turn only') }}", "one turn only"),
    ],
    ids=["record", "key", "own-words"],
)
def test_of_what_a_template_raises_only_its_own_words_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], template: str, reason: str
) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    tokenizer.save_pretrained(tmp_path / "model")
    _, out, err = run(capsys, write(tmp_path, row(instruction=SECRET)), "--model", tmp_path / "model", "--json")
    assert f"cannot show it: {reason}" in out
    assert SECRET not in out + err


def test_duplicates_are_named_with_what_they_repeat(tmp_path: Path) -> None:
    path = write(tmp_path, row(), row("No."), row(" Yes.\n"), row(category="other"), row(context="Yes"))
    report = examined(path)
    assert (report.duplicates, report.pairs) == (2, [(3, 1), (4, 1)])


def test_personal_data_is_for_the_owners_eyes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = write(tmp_path, row("No."), row(f"Write to {EMAIL}."))
    _, out, err = run(capsys, path)
    assert "for your eyes only" in out
    assert "line 2, response: j•••@•••••••••.•e" in out
    assert EMAIL not in out + err
    assert f"line 2, response: {EMAIL}" in run(capsys, path, "--show")[1]


def test_the_record_that_is_shown_hides_what_is_hidden_below_it_also_where_it_is_cut(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, row(f"Write to {EMAIL}.", instruction=f"Who is {EMAIL}?", context="Call +49 30 1234567."))
    for words in ((), ("--model", model)):
        out = run(capsys, path, *words)[1]
        assert "⟦Write to j•••@•••••••••.•e." in out
        assert "Who is j•••@•••••••••.•e?" in out
        assert "Call +•• •• ••••••7." in out
        assert out.count(EMAIL) == 0
        assert run(capsys, path, *words, "--show")[1].count(EMAIL) == 4
    whole = examined(path, tokenizer=make_tokenizer()).sample
    assert whole is not None
    before = len(make_tokenizer()(whole.shown + "Write to jane@some", add_special_tokens=False)["input_ids"])
    out = run(capsys, path, "--model", model, "--max-length", before)[1]
    assert "Write to j•••@••••" in out


def test_json_says_nothing_of_texts_or_personal_data_unless_asked(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, row(f"Write to {EMAIL}."), row())
    status, out, _ = run(capsys, path, "--json", "--model", model)
    said = json.loads(out)
    assert status == 0
    assert (said["records"], said["length"]["unit"], said["truncated"]["count"]) == (2, "tokens", 0)
    for secret in ("personal", EMAIL, "Write", "Say", "Yes"):
        assert secret not in out
    shown = json.loads(run(capsys, path, "--json", "--show")[1])
    assert shown["personal"]["found"] == [{"kind": "e-mail address", "line": 1, "part": "response", "text": EMAIL}]
    assert shown["sample"]["learned"] == f"Write to {EMAIL}."


def test_nothing_is_left_behind_and_no_repr_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, row(f"Write to {EMAIL}."))
    home = tmp_path / "home"
    home.mkdir()
    for name in ("HOME", "XDG_STATE_HOME", "XDG_CACHE_HOME", "TMPDIR"):
        monkeypatch.setenv(name, str(home))
    run(capsys, path)
    assert list(home.iterdir()) == []
    assert EMAIL not in repr(examined(path).found)


def test_a_records_text_cannot_steer_the_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nasty = "\x1b]0;owned\x07\r\x9b2J\u202e"
    roles = {"messages": [{"role": nasty, "content": "x"}]}
    for rows in ([row(nasty + "x", category=nasty)], [{nasty: 1}], [roles]):
        _, out, err = run(capsys, write(tmp_path, *rows))
        assert [character for character in out + err if not character.isprintable() and character != "\n"] == []


def test_a_file_in_which_nothing_can_be_learned_fails(
    tmp_path: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path, row(), row())
    status, out, err = run(capsys, path, "--model", model, "--max-length", 8)
    assert status == 2
    assert "Nothing left to learn within 8 tokens: 2 records (lines 1, 2)" in out
    assert "No record has an answer" in err
    assert run(capsys, write(tmp_path, ""))[0] == 2
    assert run(capsys, write(tmp_path, "x", "y"))[0] == 2
    assert run(capsys, tmp_path / "absent")[0] == 2
    status, _, err = run(capsys, path, "--model", tmp_path)
    assert (status, "tokenizer" in err) == (2, True)


def test_without_a_model_torch_and_transformers_stay_away(tmp_path: Path) -> None:
    path = write(tmp_path, row())
    script = (
        "import sys\nfrom edge_client.cli import main\n"
        "try:\n    main(['data', 'check', sys.argv[1]])\n"
        "except SystemExit:\n"
        "    print(sorted({'torch', 'transformers', 'huggingface_hub', 'pyarrow', 'aiohttp'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=100)
@given(st.lists(st.fixed_dictionaries({"instruction": st.text(), "response": st.text(), "category": st.text()})))
def test_whatever_the_texts_a_report_can_be_written(tmp_path: Path, rows: list[dict[str, str]]) -> None:
    scan = Scan(DataSource(path=str(write(tmp_path, *rows))))
    report = examine(scan, None, max_length=512)
    for show in (False, True):
        "\n".join(as_lines(scan, report, None, show=show)).encode()
        json.dumps(as_json(scan, report, None, show=show), ensure_ascii=False).encode()
    assert report.records + report.refused == len(rows)
    assert sum(report.categories.values()) == report.records == len(report.lengths)


@pytest.mark.skipif(
    not (DATA / "dolly-train.jsonl").is_file(), reason="FEDIT_DATA names no folder with dolly-train.jsonl"
)
def test_dolly_is_counted_right() -> None:
    path = DATA / "dolly-train.jsonl"
    values = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    report = examined(path)
    assert report.records == len(values)
    assert report.refused == 0
    assert report.categories == Counter(value["category"] for value in values)
    assert len(report.categories) == 8
    sizes = [len(v["instruction"]) + len(v["context"]) + len(v["response"]) for v in values]
    assert list(report.lengths) == sizes
    assert {entry.line for entry in report.found if entry.kind == "e-mail address"} >= {5083, 7524, 12144}
    assert sum(report.personal.values()) < 30, "of 14,611 texts most have nothing personal"
