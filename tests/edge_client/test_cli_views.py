"""Every event is one plain line, one JSON object, and no more lines than a reader wants."""

import json
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest
from client_events import PROGRESS, TASK

from edge_client import client as c
from edge_client import training as t
from edge_client.cli.live import LiveView
from edge_client.cli.programs import REPORTS
from edge_client.cli.views import JsonView, PlainView, plan_table
from edge_client.client import to_json
from edge_client.client.words import describe, span
from edge_client.sizes import size
from edge_client.state import Entry

TRAINING = [
    t.Notice(message="Something."),
    t.Loading(part="model"),
    t.Fetching(model="some/model", here=0, total=2**30),
    t.Fetching(model="some/model", here=2**20, total=2**30),
    t.Planned(
        device="cpu",
        quantization="int8",
        kernel="weight-only",
        compute_dtype="float32",
        micro_batch=2,
        batch_size=8,
        max_length=256,
        recomputed=30,
        layers=30,
        steps=4,
        first_step=0,
        records=10,
        threads=2,
        budget_bytes=None,
        predicted_bytes=2**30,
        table=(("weights", 2**29), ("the rest", 2**29)),
        reason="it fits",
        alternatives=("Less: half of it.", "More: twice of it."),
    ),
    PROGRESS,
    t.BackedOff(micro_batch=1, reason="reason"),
    t.Checkpointed(step=2),
    t.Finished(delta_path="/d", examples=3, tokens=9, loss=2.0, steps=4, seconds=200.0, peak_bytes=2**30),
    t.Failed(code="memory", message="Too little.", advice="Get more."),
]
EVENTS: list[c.Event] = [
    c.Joined("name", "https://a:1", bytes(32), True),
    c.Retrying("the server does not answer", 8.0),
    c.Reconnected(),
    c.Waiting("Soon.", 3, 2, 5, 1_700_000_000),
    c.Offered(3, bytes(32), 100, 1_700_000_000, 1_700_000_000, TASK),
    c.Agreed(TASK, 2**21, 2**18),
    c.Downloading(3, 50, 100),
    *(c.Training(3, event) for event in TRAINING),
    c.Paused("Its owner paused it."),
    c.Paused("It is to run at 22:00-06:00 only.", 1_700_000_000),
    c.Resumed(),
    c.Declined(3, "Too slow."),
    c.Trained(3, 40, 1.5),
    c.Mustered(3, 4, 1_700_000_000),
    c.RosterAccepted(3, bytes(16), 5, 4, 3),
    c.Sealed(3, 0.25),
    c.Uploading(3, 2**20, 2**21),
    c.Contributed(3, 2**21),
    c.Reported(3),
    c.Voted(3, 5),
    c.Voted(3, 0),
    c.Answered(3),
    *(
        c.RoundFinished(3, outcome, False, 4, 5, 100, 1.5, bytes(32), "Because.")
        for outcome in ("published", "abandoned", "failed", "closed", "expired", "refused", "superseded")
    ),
    c.RoundFinished(3, "published", True, 4, 5, 100, 1.5, bytes(32)),
    c.FederationFinished("It is over."),
    c.Notice("Look here."),
]


def test_these_are_all_events_there_are() -> None:
    assert {type(event) for event in EVENTS} == set(get_args(c.Event))
    assert {type(event) for event in TRAINING} == set(get_args(t.TrainEvent))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_told_in_one_plain_line(event: c.Event) -> None:
    line = describe(event)
    assert line.strip()
    assert "\n" not in line
    assert not any(sign in line for sign in ("None", "b'", "(event", "<"))


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: type(event).__name__)
def test_an_event_is_one_json_object_with_its_name(event: c.Event, capsys: pytest.CaptureFixture[str]) -> None:
    JsonView().show(event)
    told = json.loads(capsys.readouterr().out)
    assert told["event"] == type(event).__name__
    assert told["time"] > 0
    if isinstance(event, c.Training):
        assert told["training"]["event"] == type(event.event).__name__


def test_before_it_trains_a_participant_is_told_what_weights_say_of_its_records() -> None:
    equal = describe(c.Agreed(TASK, 2**21, 2**18))
    assert "Every device counts the same" in equal
    weighed = msgspec.structs.replace(TASK, max_weight=16)
    told = describe(c.Agreed(weighed, 2**21, 2**18))
    assert "the operator and every member can tell how many you have, exactly, in steps of 32 up to 512." in told
    shown = [c.to_json(c.Agreed(task, 2**21, 2**18))["task"]["max_weight"] for task in (TASK, weighed)]
    assert shown == [1, 16]


def test_plain_lines_tell_of_progress_now_and_then_and_of_everything_else_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    now = 0.0
    view = PlainView(lambda: now)
    for _ in range(5):
        view.show(c.Training(1, PROGRESS))
        view.show(c.Uploading(1, 1, 2))
        view.show(c.Notice("every time"))
    view.show(c.Uploading(1, 2, 2))
    now = 11.0
    view.show(c.Training(1, PROGRESS))
    lines = capsys.readouterr().out.splitlines()
    assert sum("tokens/s" in line for line in lines) == 2
    assert sum("uploaded" in line for line in lines) == 2
    assert sum("every time" in line for line in lines) == 5


def test_what_others_wrote_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    odd = c.Notice("Look\x1b[2Jhere\r.\nAnd \u202ethere.")
    PlainView().show(odd)
    PlainView().say("Data: \x1b]0;title\x07.")
    for line in (*capsys.readouterr().out.splitlines(), describe(odd)):
        assert not re.search(r"[\x00-\x1f\x7f\u202e]", line)


def test_the_readme_names_every_event_with_its_fields() -> None:
    page = (Path(__file__).parents[2] / "edge_client" / "README.md").read_text()
    rows = {
        row[0]: row[1:]
        for row in (re.split(r" *\| *", line.strip("| ")) for line in page.splitlines() if line[:3] == "| `")
    }
    for event in EVENTS:
        told = to_json(event)
        assert re.findall(r"`(\w+)`", rows[f"`{told.pop('event')}`"][0]) == list(told), event
    assert {name.strip("`") for name in rows} == {"event"} | {kind.__name__ for kind in get_args(c.Event)} | set(
        REPORTS
    )
    assert re.findall(r"`(\w+)`", rows["`Round`"][1]) == [field.name for field in msgspec.structs.fields(Entry)]
    trains = page[page.index("What `training` holds") : page.index("With `--json` the commands")]
    for said in TRAINING:
        assert f"`{type(said).__name__}`" in trains
    assert all(f"`{field}`" in trains for field in to_json(c.Training(1, PROGRESS))["training"] if field != "event")


def test_the_live_view_shows_every_event_without_failing(capsys: pytest.CaptureFixture[str]) -> None:
    with LiveView() as view:
        for event in EVENTS:
            view.show(event)
    assert "Look here." in capsys.readouterr().out


def test_on_a_terminal_every_line_keeps_its_time_and_nothing_stale_stays_below(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with LiveView() as view:
        view.show(c.Joined("name", "https://a:1", bytes(32), True))
        view.show(c.Notice("Look here."))
    said = capsys.readouterr().out
    assert "\x1b[" in said, "rich takes this for a terminal"
    said = re.sub(r"\x1b\[[0-9;]*m", "", said).replace("\r", "\n")
    assert re.search(r"(^|\x1b\[\d+[AK])\d\d:\d\d:\d\d  Look here\.$", said, re.MULTILINE)
    assert "Connecting" not in said[said.index("Joined") :]


def test_sizes_and_spans_are_read_at_a_glance() -> None:
    assert [size(n) for n in (12, 2048, 50 * 2**20, 3 * 2**31)] == ["12 bytes", "2.0 KiB", "50.0 MiB", "6.0 GiB"]
    assert [span(s) for s in (8, 600, 10_000)] == ["8 s", "10 min", "2.8 h"]


def test_a_plan_is_shown_with_its_bytes_and_what_other_budgets_would_get() -> None:
    (planned,) = (c.Training(3, event) for event in TRAINING if isinstance(event, t.Planned))
    shown = plan_table(planned)
    assert [line.split()[-1] for line in shown[:2]] == ["weights", "rest"]
    assert shown[2:] == ["Less: half of it.", "More: twice of it."]
    assert plan_table(EVENTS[0]) == []
