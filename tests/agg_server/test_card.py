"""A model card says what the database knows, the same each time, and what others have named stays mere text in it."""

import html
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from markdown_it import MarkdownIt
from msgspec.structs import replace
from simulated import Simulated

from agg_server.adapters.card import lineage, write_card
from agg_server.adapters.markup import code, quoted, table
from agg_server.adapters.results import read_results
from agg_server.store import Journal, Versions
from fedit_shared.errors import UserError
from fedit_shared.messages import TaskSpec

HOSTILE = [
    "`x` <script>alert(1)</script> | ``y``",
    "](https://evil.example) ![x](https://evil.example/p.png)",
    "https://evil.example www.evil.example me@evil.example",
    "a: b # c\n---\nlicense: mit",
    '"quoted" \\ back\u202eslash \U0001f600',
    "| cell || `",
    "&lt;b&gt; &#x3c;i>",
]
FIGURE = {"value": 2.5, "low": 2.4, "high": 2.6}


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """Three versions, the last of which came from version 1 again: round 3 ended with the rollback."""
    sim = Simulated(tmp_path_factory.mktemp("card"), 5, cohort_target=5)
    sim.whole_round()
    sim.whole_round()
    with sim.database.begin() as connection:
        Versions().order_rollback(connection, 1)
    sim.settle()
    sim.whole_round()
    return sim


def card_of(sim: Simulated, version: int, task: TaskSpec | None = None, **more: Any) -> str:
    with sim.database.begin() as connection:
        versions, reports = Versions().all(connection), Journal().reports(connection)
    return write_card(lineage(versions, reports, versions[version]), task or sim.plans.task, sim.config, **more)


def front_of(card: str) -> dict[str, Any]:
    _, front, _ = re.split(r"^---\n", card, maxsplit=2, flags=re.MULTILINE)
    return dict(yaml.safe_load(front))


def body_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def page_of(card: str) -> str:
    """As a hub shows it, which lets HTML through."""
    page: str = MarkdownIt("commonmark", {"html": True, "linkify": False}).enable("table").render(body_of(card))
    return page


def results_in(folder: Path, **changes: Any) -> Path:
    arm = {"loss": FIGURE, "perplexity": None, "answers": None, "by_category": {}}
    values = {"records": 400, "confidence": 0.95, "arms": {"base": arm}, "differences": {}, "model": "m"} | changes
    path = folder / "results.json"
    path.write_text(json.dumps(values))
    return path


def test_the_card_has_what_led_to_the_version_and_the_hub_can_read_it(sim: Simulated) -> None:
    card = card_of(sim, 3)
    assert front_of(card) == {
        "base_model": "tiny",
        "base_model_relation": "adapter",
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["federated-learning", "instruction-tuning", "lora", "peft"],
    }
    rows = [line.split(" | ") for line in card.splitlines() if re.match(r"\| \d+ \| \d+ \| \d{4}-", line)]
    first, third = sim.finished(1), sim.finished(4)
    assert [row[:2] for row in rows] == [["| 1", "1"], ["| 4", "3"]]  # what was rolled back is in no ancestor
    for row, report in zip(rows, (first, third), strict=True):
        [cohort] = report.cohorts
        assert row[3:6] == ["5", "5", str(cohort.total_weight)]
        assert row[6] == f"{cohort.loss:.4f}"
    assert "after 2 rounds with 5 devices in all" in card
    assert "4 of 5" in card
    assert "smallest sum was over 5 devices" in card
    assert "**No differential privacy.**" in card
    assert third.adapter_after is not None
    assert third.adapter_after in card
    assert not any(bytes(device.identity).hex() in card for device in sim.devices)


@pytest.mark.parametrize(
    ("most", "said"),
    [(1, "is 1, however many records it has."), (16, "is its records / 32, rounded up, at most 16.")],
)
def test_the_card_says_what_a_devices_weight_is_made_of(sim: Simulated, most: int, said: str) -> None:
    task = replace(sim.plans.task, max_weight=most)
    [sentence] = re.findall(r"A device's weight.*?\.(?= )", card_of(sim, 1, task))
    assert sentence.endswith(said)


def test_a_cohort_whose_sum_was_never_opened_is_in_no_figure(sim: Simulated) -> None:
    with sim.database.begin() as connection:
        versions, reports = Versions().all(connection), Journal().reports(connection)
    [cohort] = reports[0].cohorts
    lost = replace(
        cohort, outcome="failed", roster=["00" * 32] * 4, survivors=["00" * 32] * 4, total_weight=9, loss=None
    )
    reports[0] = replace(reports[0], cohorts=[cohort, lost])
    told = write_card(lineage(versions, reports, versions[1]), sim.plans.task, sim.config)
    assert told == card_of(sim, 1)


def test_the_same_version_gives_the_same_bytes(sim: Simulated) -> None:
    before = card_of(sim, 1)
    sim.now += 86400
    sim.whole_round()
    assert card_of(sim, 1) == before


@pytest.mark.parametrize("name", HOSTILE)
def test_names_of_others_stay_text(name: str, sim: Simulated, tmp_path: Path) -> None:
    task = sim.plans.task
    hostile = replace(task, name=name, model=replace(task.model, id=name, revision=name))
    arm = {"loss": FIGURE, "by_category": {name: {"records": 1, "loss": FIGURE}, "b": {"records": 2, "loss": None}}}
    results = read_results(
        results_in(tmp_path, arms={name: arm}, differences={f"{name} - b": {"loss": FIGURE}}, tasks=tasks_of(name))
    )
    card = card_of(sim, 1, hostile, results=results, data_license=name)
    harmless = replace(task, name="t", model=replace(task.model, id="m", revision="r"))
    plain = card_of(sim, 1, harmless, results=results_of(tmp_path), data_license="a b")
    assert front_of(card) == {
        key: value for key, value in front_of(plain).items() if not key.startswith("base_model")
    } | {"license": "other", "license_name": shown(name)}
    assert tags(page_of(card)) == tags(page_of(plain))
    assert body_of(card).count("\n") == body_of(plain).count("\n")


def tasks_of(name: str) -> dict[str, Any]:
    return {name: {name: {"arms": {name: FIGURE, "b": {"value": 0.5}}, "differences": {}, "documents": 3}}}


def results_of(folder: Path) -> Any:
    arm = {"loss": FIGURE, "by_category": {"a": {"records": 1, "loss": FIGURE}, "b": {"records": 2, "loss": None}}}
    return read_results(
        results_in(folder, arms={"x": arm}, differences={"x - b": {"loss": FIGURE}}, tasks=tasks_of("x"))
    )


def shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def tags(page: str) -> list[str]:
    return re.findall(r"<[^>]*>", page)


@pytest.mark.parametrize("text", [*HOSTILE, "", "`", "``a", " a ", "x" * 900])
def test_a_code_span_shows_just_what_was_named(text: str) -> None:
    for source in (table(["a", "b"], [[code(text), ""]]), f"before {code(text)}, after"):
        page = MarkdownIt("commonmark").enable("table").render(source)
        [inner] = re.findall(r"<code>(.*?)</code>", page)
        assert len(re.findall("<td>", page)) in (0, 2)
        assert html.unescape(inner).strip() == (shown(text)[:400].strip() or "?")
    assert yaml.safe_load(f"a: {quoted(text)}") == {"a": shown(text)[:400]}


@pytest.mark.parametrize(
    "changes",
    [{"arms": {}}, {"records": "many"}, {"arms": {"x": {"loss": {"value": 1}}}}, {"confidence": 7}, {"arms": [1]}],
)
def test_what_is_no_result_of_an_evaluation_is_refused(changes: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no results"):
        read_results(results_in(tmp_path, **changes))
    with pytest.raises(UserError, match="cannot be read"):
        read_results(tmp_path / "absent.json")


def test_results_are_shown_with_their_intervals(sim: Simulated, tmp_path: Path) -> None:
    card = card_of(sim, 1, results=results_of(tmp_path))
    assert "On 400 held-out records" in card
    assert "| `x` | 2.5 (2.4 to 2.6) |" in card
    assert "| `a` | 1 | 2.5 (2.4 to 2.6) |" in card
    assert "| `x` | `x` | 2.5 (2.4 to 2.6) |" in card
