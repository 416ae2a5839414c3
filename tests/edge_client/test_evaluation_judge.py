"""A judge is asked once about each pair in each order, over real HTTP; what it says is kept, and its faults are
told."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from evaluations import claimed
from judge_server import Answered, JudgeServer, by_length, judging, said
from msgspec.structs import replace

from edge_client.cli import main
from edge_client.data import Record
from edge_client.evaluation.endpoint import Endpoint, JudgeError, Key
from edge_client.evaluation.judging import Judgement, Judging, Prices, pairs_of
from edge_client.evaluation.kept import Answer, Arm, Kept, Loss, read_header
from edge_client.evaluation.lines import Lines
from edge_client.evaluation.pairwise import scores, verdict
from edge_client.evaluation.verdicts import judged
from fedit_shared.errors import UserError

SECRET = "sk-very-secret-0123456789"
RECORDS = 12


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An evaluation whose arm ``new`` answers at greater length than the base to 9 of 12 records, and as it does to
    1."""
    place = tmp_path / "evaluation"
    kept = claimed(place, RECORDS, [Arm(name="base"), Arm(name="new", adapter="a", sha256="1")])
    for arm, length in (("base", lambda n: 3), ("new", lambda n: 6 if n < 9 else 3 if n == 9 else 1)):
        kept.answers.add(
            Answer(arm=arm, place=n, record=record(n), text="abcdef"[: length(n)], tokens=3, ended=True)
            for n in range(RECORDS)
        )
        kept.losses.add(
            Loss(arm=arm, place=n, category="odd", loss=10.0 if arm == "base" else 8.0 + (n % 4), tokens=10)
            for n in range(RECORDS)
        )
    return place


def test_arms_join_an_evaluation_and_those_before_stay(folder: Path) -> None:
    before = read_header(folder)
    assert before is not None
    Kept(folder).claim(replace(before, arms={}), [Arm(name="base"), Arm(name="third", adapter="c", sha256="3")])
    after = read_header(folder)
    assert after is not None
    assert after.arms == {"base": "", "new": "1", "third": "3"}


def record(number: int) -> Record:
    return Record(
        instruction=f"Question {number}", context="so", response=f"REFERENCE {number}", category="ab"[number % 2]
    )


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON on stdout and the text on stderr of ``fedit-client judge``."""
    with pytest.raises(SystemExit) as end:
        main(["judge", *map(str, arguments), "--json"])
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    assert isinstance(end.value.code, int)
    return end.value.code, json.loads(out) if out else {}, error


def asked(folder: Path, judge: JudgeServer, key: Key | None = None, **options: Any) -> Judging:
    """All open questions, put by the library itself, with short waits between tries."""
    news: list[object] = []
    endpoint = Endpoint(
        judge.address, "j", key, temperature=0.0, tell=news.append, base=0.001, **{"timeout": 60.0} | options
    )
    pairs = pairs_of(Kept(folder), "new", "base")
    work = Judging(
        Lines(folder / "judgements.jsonl", Judgement), pairs, address=str(endpoint.url), model="j", temperature=0.0
    )

    async def ask() -> None:
        async with endpoint:
            await work.run(endpoint, Prices(2.0, 10.0), 3, lambda what, done, total: None)

    asyncio.run(ask())
    return work


def test_a_fair_judge_sees_each_pair_in_both_orders_and_no_reference(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with judging(by_length) as judge:
        status, found, error = told(
            *(capsys, folder, "--endpoint", judge.address, "--judge-model", "j", "--yes"),
            *("--price-in", 2, "--price-out", 10),
        )
    assert status == 0
    assert (found["win"]["value"], found["tie"]["value"], found["loss"]["value"]) == (
        pytest.approx(9 / 12, abs=1e-4),
        pytest.approx(1 / 12, abs=1e-4),
        pytest.approx(2 / 12, abs=1e-4),
    )
    assert found["win"]["low"] < 9 / 12 < found["win"]["high"]
    assert found["by_category"]["a"]["records"] == 6
    assert (found["identical"], found["unparsed"], found["contradictory"], found["questions"]) == (1, 0, 0, 22)
    assert found["position"]["bias"]["value"] == 0
    assert found["scores"]["difference"]["low"] > 0
    assert (found["prompt_tokens"], found["completion_tokens"]) == (2200, 220)
    assert found["cost"] == pytest.approx(22 * (100 * 2 + 10 * 10) / 1e6)
    assert len(judge.questions) == len(set(judge.questions)) == 22
    assert not any("REFERENCE" in question for question in judge.questions)
    assert "22 questions" in error
    assert "11 records" in error
    assert "127.0.0.1" in error
    assert "NOT encrypted" in error


def test_nothing_is_sent_unless_the_owner_agrees(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with judging(by_length) as judge:
        status, _, error = told(capsys, folder, "--endpoint", judge.address, "--judge-model", "j")
    assert status == 2
    assert "--yes" in error
    assert "Leaves this machine" in error
    assert judge.requests == []


def test_nothing_is_ever_asked_twice(folder: Path) -> None:
    def breaks(number: int, question: str) -> Answered | str:
        return Answered(400, b"bad model") if number == 7 else by_length(number, question)

    with judging(breaks) as judge:
        with pytest.raises(JudgeError, match="HTTP 400: bad model"):
            asked(folder, judge)
        kept = {line.messages[1].content for line in Lines(folder / "judgements.jsonl", Judgement).values}
        assert 1 <= len(kept) < 22
        before = len(judge.requests)
        asked(folder, judge)
        assert kept.isdisjoint(judge.questions[before:])
        done = len(judge.requests)
        asked(folder, judge)
        assert len(judge.requests) == done
    assert len(Lines(folder / "judgements.jsonl", Judgement).values) == 22


def test_a_judge_that_favours_a_place_makes_no_winner_and_is_found_out(folder: Path) -> None:
    with judging(lambda number, question: "9 4\nThe first, of course.") as judge:
        found = judged(asked(folder, judge), 500, 0)
    assert found["win"]["value"] == found["loss"]["value"] == 0
    assert found["contradictory"] == 11
    assert found["position"] == {"first": 1.0, "second": 0.0, "equal": 0.0, "bias": {"value": 1, "low": 1, "high": 1}}


def test_a_flaky_judge_is_asked_again_until_it_answers(folder: Path) -> None:
    def flaky(number: int, question: str) -> Answered | str:
        broken = [Answered(429, b"", {"Retry-After": "0"}), Answered(503, b"overloaded"), Answered(500, b"")]
        return broken[number] if number < len(broken) else by_length(number, question)

    with judging(flaky) as judge:
        found = judged(asked(folder, judge), 500, 0)
    assert found["questions"] == 22
    assert len(judge.requests) == 25


def test_a_judge_that_stays_away_ends_in_one_clear_error(folder: Path) -> None:
    with judging(lambda number, question: Answered(503, b"")) as judge, pytest.raises(JudgeError) as error:
        asked(folder, judge)
    assert "HTTP 503" in error.value.message
    assert "goes on from there" in error.value.advice
    with pytest.raises(JudgeError, match="cannot be reached"):
        asked(folder, judge)  # it is gone altogether


def test_one_that_asks_to_wait_for_hours_is_not_waited_for(folder: Path) -> None:
    away = Answered(429, b"", {"Retry-After": "3000"})
    with judging(lambda number, question: away) as judge, pytest.raises(JudgeError, match="wait 3000 s"):
        asked(folder, judge)


def test_a_slow_judge_is_given_up_on_and_asked_again(folder: Path) -> None:
    ended = Event()

    def slow(number: int, question: str) -> str:
        if number == 0:
            ended.wait()
        return by_length(number, question)

    with judging(slow) as judge:
        try:
            found = judged(asked(folder, judge, timeout=1.0), 500, 0)
        finally:
            ended.set()
    assert found["questions"] == 22
    assert len(judge.requests) == 23


def test_one_that_never_answers_is_not_waited_for_for_ever(folder: Path) -> None:
    ended = Event()

    def silent(number: int, question: str) -> str:
        ended.wait()
        return ""

    with judging(silent) as judge:
        try:
            with pytest.raises(JudgeError, match=r"did not answer in 0\.2 s"):
                asked(folder, judge, timeout=0.2)
        finally:
            ended.set()


def test_a_reply_without_scores_is_counted_and_not_guessed(folder: Path) -> None:
    def rubbish(number: int, question: str) -> str:
        return "Assistant 1: 9, Assistant 2: 3" if "Question 4" in question else by_length(number, question)

    with judging(rubbish) as judge:
        found = judged(asked(folder, judge), 500, 0)
    assert (found["unparsed"], found["records"], found["questions"]) == (1, 11, 22)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("8 7\nBecause.", (8, 7)),
        ("8.5, 7", (8.5, 7)),
        ("<think>9 1? no.</think>\n3 4", (3, 4)),
        ("", None),
        ("8", None),
        ("8/10", None),  # one score, of ten
        ("8 7 6", None),
        ("Scores: 8 7", None),
        ("11 2", None),
        ("0 2", None),
        ("Both are good.\n8 7", None),
    ],
)
def test_scores_are_read_from_the_first_line_alone(reply: str, expected: tuple[float, float] | None) -> None:
    assert scores(reply) == expected


def test_an_arm_wins_only_if_it_is_preferred_in_both_orders() -> None:
    assert verdict((8, 5), (4, 9)) == "win"
    assert verdict((5, 8), (9, 4)) == "loss"
    assert verdict((8, 5), (9, 4)) == "tie"
    assert verdict((8, 5), (6, 6)) == "tie"


@pytest.mark.parametrize(
    "answered",
    [
        Answered(200, b"<html>Welcome!</html>"),
        Answered(200, b'{"choices": []}'),
        Answered(302, b"", {"Location": "/x"}),
    ],
)
def test_what_is_no_such_endpoint_is_told_at_once(folder: Path, answered: Answered) -> None:
    with judging(lambda number, question: answered) as judge, pytest.raises(JudgeError) as error:
        asked(folder, judge)
    assert "--endpoint" in error.value.advice
    assert len(judge.requests) <= 3


def test_an_answer_that_is_filtered_away_counts_as_unreadable(folder: Path) -> None:
    empty = json.loads(said("").body)
    empty["choices"][0]["message"]["content"] = None
    with judging(lambda number, question: Answered(200, json.dumps(empty).encode())) as judge:
        assert judged(asked(folder, judge), 500, 0)["unparsed"] == 11


@pytest.mark.parametrize(
    "behave",
    [lambda n, q: Answered(401, f"wrong key {SECRET[:14]}***".encode()), lambda n, q: Answered(400, SECRET.encode())],
)
def test_the_key_is_sent_to_the_judge_and_is_nowhere_else(
    behave: Callable[[int, str], Answered],
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    options = ("--judge-model", "j", "--yes")
    with judging(by_length) as judge:
        file = tmp_path / "key"
        file.write_text(f"{SECRET}\n")
        status, found, error = told(capsys, folder, "--endpoint", judge.address, *options, "--key-file", file)
    assert status == 0
    assert {headers["Authorization"] for headers in judge.headers} == {f"Bearer {SECRET}"}
    (folder / "judgements.jsonl").rename(folder / "before.jsonl")
    monkeypatch.setenv("OTHER_KEY", SECRET)
    with judging(behave) as judge:
        status, _, refused = told(capsys, folder, "--endpoint", judge.address, *options, "--key-env", "OTHER_KEY")
    assert status == 4
    assert SECRET[:14] not in f"{found}{error}{refused}{Key(SECRET, 'x')!r}"
    assert not [path for path in folder.iterdir() if SECRET.encode() in path.read_bytes()]


def test_a_key_is_never_sent_unencrypted_to_another_machine() -> None:
    for address in ("http://judge.example/v1", "http://192.168.1.7:8000/v1"):
        with pytest.raises(UserError, match="unencrypted"):
            Endpoint(address, "j", Key(SECRET, "x"), temperature=0, timeout=1, tell=lambda news: None)
    for address in ("ftp://a/v1", "nonsense", "https://", f"https://me:{SECRET}@a/v1", f"https://a/v1?key={SECRET}"):
        with pytest.raises(UserError) as error:
            Endpoint(address, "j", None, temperature=0, timeout=1, tell=lambda news: None)
        assert SECRET not in str(error.value)
    for text in (f"{SECRET}\nX-Other:1", f"{SECRET} two", f"{SECRET}é"):
        with pytest.raises(UserError, match="no key") as error:
            Key(text, "The file")
        assert SECRET not in str(error.value)


def test_without_an_endpoint_the_likelihood_of_the_reference_judges(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, found, _ = told(capsys, folder)
    assert status == 0
    assert found["arms"] == ["new", "base"]
    shares = [found[name]["value"] for name in ("win", "tie", "loss")]
    assert shares == [pytest.approx(share) for share in (0.5, 0.25, 0.25)]
    assert found["difference"]["value"] == pytest.approx(-0.05)


def test_arms_that_are_not_there_are_refused_with_those_that_are(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arms in ("new", "new,new", "new,old", "a,b,c"):
        status, _, error = told(capsys, folder, "--arms", arms)
        assert status == 2
        assert "base, new" in error
    status, _, error = told(capsys, tmp_path)
    assert status == 2
    assert "evaluate --out" in error
