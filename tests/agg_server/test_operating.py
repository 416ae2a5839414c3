"""docs/operating.md is true: its commands run, its tables are what the code has, its runbook is that of the alerts."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from prometheus_client.metrics import MetricWrapperBase
from server_process import ServerProcess, command, make_adapter
from simulated import Simulated
from sqlalchemy import text

from agg_server.watching.metrics import Metrics
from benchmarks.ports import free_port
from fedit_shared.parameters import upload_size

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "operating.md").read_text(encoding="utf-8")
ALERTS = yaml.safe_load((ROOT / "deploy" / "alerts.yml").read_text(encoding="utf-8"))["groups"][0]["rules"]
SIZES = {"d = 4,194,304": 4_194_304, "d = 17,891,328": 17_891_328}
ROW_BYTES = 60
"""Of an event beside its body: number, round, time, kind, the index."""


def blocks() -> list[str]:
    """What stands between fences, the marked ones left out."""
    parts = re.split(r"^```(.*)\n", PAGE, flags=re.MULTILINE)
    found = list(zip(parts[1::2], parts[2::2], strict=True))
    assert {mark for mark, _ in found} == {"", "sh"}
    return [body for mark, body in found[::2] if mark == ""]


def test_every_command_runs_in_the_order_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    make_adapter(tmp_path / "ADAPTER")
    port = free_port()
    lines = [line for block in blocks() for line in block.splitlines()]
    assert len(lines) > 12
    serving: ServerProcess | None = None
    try:
        for line in lines:
            program, *words = shlex.split(line)
            assert program == "fedit-server", line
            if words[0] == "init":
                words[-1] = words[-1].replace("HOST:8443", f"127.0.0.1:{port}")
                words += ["--listen", f"127.0.0.1:{port}"]
            if words[0] == "serve":
                if serving is not None:
                    assert serving.stop() == 0
                serving = ServerProcess.adopt(tmp_path / words[1], port)
                serving.start()
                continue
            done = command(*words)
            assert done.returncode == 0, (line, done.stderr)
    finally:
        if serving is not None:
            serving.stop()


def exposed() -> set[str]:
    """Names as Prometheus sees them: a counter with _total, a histogram without its _bucket, _sum and _count."""
    families = Metrics().registry.collect()
    return {family.name + ("_total" if family.type == "counter" else "") for family in families}


def test_the_table_of_metrics_is_the_registrys():
    table = PAGE.partition("## Metrics")[2].partition("## Runbook")[0]
    rows = re.findall(r"^\| `(fedit_\w+)` \|([^|]*)\|", table, re.MULTILINE)
    assert {name for name, _ in rows} == exposed()
    assert len(rows) == len(exposed())
    metrics = [metric for metric in vars(Metrics()).values() if isinstance(metric, MetricWrapperBase)]
    labels = {metric.describe()[0].name: set(metric._labelnames) for metric in metrics}
    told = {name.removesuffix("_total"): set(re.findall(r"\w+", cells)) for name, cells in rows}
    assert told == labels


def test_the_runbook_has_a_section_for_each_alert_and_no_other():
    sections = re.findall(r"^### (\w+)\n(.*?)(?=^### |\Z)", PAGE.partition("## Runbook")[2], re.MULTILINE | re.DOTALL)
    assert [name for name, _ in sections] == [rule["alert"] for rule in ALERTS]
    assert all(len(body.split()) > 12 for _, body in sections)


def test_alerts_ask_only_for_what_the_server_tells():
    asked = {name for rule in ALERTS for name in re.findall(r"fedit_\w+", rule["expr"])}
    assert len(asked) > 8
    assert {re.sub(r"_(bucket|count|sum)$", "", name) for name in asked} <= exposed()
    assert all(rule["annotations"]["summary"] and rule["labels"]["severity"] in ("page", "ticket") for rule in ALERTS)


def megabytes(text_of_cell: str) -> float:
    return float(text_of_cell.removesuffix(" MB").replace(",", ""))


@pytest.mark.parametrize(
    ("row", "size"),
    [
        ("disk: uploads | 3", lambda d: 3 * upload_size(d, 16)),
        ("disk: uploads | 16", lambda d: 16 * upload_size(d, 16)),
        ("disk: uploads | 64", lambda d: 64 * upload_size(d, 16)),
        ("each device fetches", lambda d: 4 * d),
        ("each device sends", lambda d: upload_size(d, 16)),
        ("memory for the step, beside the process", lambda d: 20.3 * d),
        ("adapter version", lambda d: 4 * d),
        ("sum, for each cohort", lambda d: 2 * d),
        ("state of `fedavgm`", lambda d: 4 * d),
        ("state of `fedadam`, `fedyogi`", lambda d: 8 * d),
    ],
)
def test_the_tables_of_sizes_follow_from_the_formats(row: str, size: Callable[[int], float]):
    [cells] = re.findall(rf"^\| {re.escape(row)} \|(?: \|)? (.*) \|$", PAGE, re.MULTILINE)
    told = [megabytes(cell) for cell in cells.split(" | ")]
    assert told == [pytest.approx(size(d) / 1e6, abs=0.6, rel=0.01) for d in SIZES.values()]


@pytest.mark.parametrize("count", [3, 10])
def test_what_a_rounds_events_take_is_as_told(count: int, tmp_path: Path):
    sim = Simulated(tmp_path, count, cohort_target=count)
    sim.whole_round()
    with sim.database.begin() as connection:
        found = connection.execute(text("SELECT sum(length(body)), count(*) FROM events WHERE round = 1")).one()
    [told] = re.findall(rf"^\| events in the database \| {count} \| (\d+) kB \| \1 kB \|$", PAGE, re.MULTILINE)
    assert (found[0] + ROW_BYTES * found[1]) / 1e3 == pytest.approx(float(told), rel=0.05)
