"""The benchmark runs, its last line is what it promises, and the page shows the file that is kept."""

import json
import subprocess
import sys

import pytest

from benchmarks.secagg import __main__ as program
from benchmarks.secagg.measure import Figure, seconds
from benchmarks.secagg.scenario import FULL
from benchmarks.secagg.summary import summary
from benchmarks.secagg.table import SECTION, newest, section

KEYS = {
    "client_vs_flower_k10",
    "unmask_vs_flower_n1000_d20",
    "unmask_vs_pairwise_n1000_d20",
    "bytes_per_parameter",
    "client_seconds",
    "unmask_seconds",
}


@pytest.fixture(scope="module")
def quick(tmp_path_factory):
    """Result file and output of a quick run."""
    out = tmp_path_factory.mktemp("bench") / "deep" / "secagg.json"
    command = [sys.executable, "-m", "benchmarks.secagg", "--quick", "--out", str(out)]
    result = subprocess.run(command, cwd=program.ROOT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    return json.loads(out.read_text()), result.stdout.splitlines()


def test_the_last_line_is_one_json_object_with_the_promised_figures(quick):
    values = json.loads(quick[1][-1])
    assert set(values) >= KEYS
    installed = program.FLOWER.exists()
    for name, value in values.items():
        assert (value is None) == ("flower" in name and not installed)
        assert value is None or value > 0


def test_the_result_file_says_where_when_and_on_what_it_was_measured(quick):
    machine = quick[0]["machine"]
    assert machine["cores"] >= 1
    assert machine["cpu"]
    assert set(machine["load"]) == {"before", "after"}
    assert {"numpy", "numba", "cryptography"} <= set(machine["versions"])
    assert machine["date"].count("-") == 2


def test_every_system_is_measured_for_every_size_and_dropout(quick):
    figures = [Figure(**entry) for entry in quick[0]["figures"]]
    for system in ("ours", "pairwise"):
        assert {"client", "add", "unmask", "upload"} <= {f.what for f in figures if f.system == system}
        dropouts = {f.dropout for f in figures if f.system == system and f.what == "unmask"}
        assert dropouts == set(quick[0]["scenario"]["dropouts"])
        assert {f.n for f in figures if f.system == system and f.what == "unmask"} == {9, 20}
    assert all(f.parts for f in figures if not f.whole)


def test_a_table_can_be_made_of_a_run_without_flower(quick):
    assert "Flower" in section(quick[0])


def test_the_summary_divides_their_time_by_ours():
    d, where = FULL.headline, {"unit": "s", "d": FULL.headline, "n": FULL.large, "dropout": 0.2}
    figures = [
        Figure("client", "ours", 0.02, "s", d=d),
        Figure("client", "flower", 0.5, "s", d=d, k=10),
        Figure("unmask", "ours", 0.1, **where),
        Figure("unmask", "pairwise", 30.0, **where),
    ]
    values = summary(FULL, figures)
    assert values["client_vs_flower_k10"] == 25
    assert values["unmask_vs_pairwise_n1000_d20"] == 300
    assert values["unmask_vs_flower_n1000_d20"] is None


def test_a_time_is_the_median_of_repeats_after_a_warm_up():
    calls = []
    assert seconds(lambda: calls.append(1), budget=0.0) >= 0
    assert len(calls) == 4


def test_the_page_shows_the_newest_result_file():
    result = json.loads(newest().read_text())
    assert SECTION.shows(section(result))
    assert result["scenario"]["dimensions"] == list(FULL.dimensions)
